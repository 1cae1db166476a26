/**
 * Durations in buckets that double: what is rare and long shows as clearly as what is usual. Takes a counter for each bucket, however many
 * durations it is given.
 */
const COLUMNS = 50;
const LEAST_MS = 1 / 16;

export class Histogram {
  /** By the logarithm of the bucket's upper bound. */
  readonly #counts = new Map<number, number>();
  count = 0;
  longestMs = 0;

  add(valueMs: number): void {
    this.#take(Math.ceil(Math.log2(Math.max(valueMs, LEAST_MS))), 1);
    this.longestMs = Math.max(this.longestMs, valueMs);
  }

  merge(other: Histogram): void {
    for (const [bucket, count] of other.#counts) this.#take(bucket, count);
    this.longestMs = Math.max(this.longestMs, other.longestMs);
  }

  #take(bucket: number, count: number): void {
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count);
    this.count += count;
  }

  /** Half of them are no longer than this, the bound of a bucket. */
  get medianMs(): number {
    let below = 0;
    for (const bucket of [...this.#counts.keys()].sort((a, b) => a - b)) {
      below += this.#counts.get(bucket)!;
      if (2 * below >= this.count) return 2 ** bucket;
    }
    return 0;
  }

  /** One line for each bucket from the first to the last that holds something; bars grow with the logarithm of the count. */
  lines(): string[] {
    const buckets = [...this.#counts.keys()];
    const first = Math.min(...buckets);
    const most = Math.log2(1 + Math.max(...this.#counts.values()));
    return Array.from({ length: buckets.length === 0 ? 0 : Math.max(...buckets) - first + 1 }, (_, index) => {
      const count = this.#counts.get(first + index) ?? 0;
      const bar = '#'.repeat(Math.round((COLUMNS * Math.log2(1 + count)) / most));
      return `${`<= ${2 ** (first + index)} ms`.padStart(14)} ${String(count).padStart(8)} ${bar}`.trimEnd();
    });
  }
}
