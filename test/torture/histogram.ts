/** Durations in buckets that double: what is rare and long shows as clearly as what is usual. */
const COLUMNS = 50;

export class Histogram {
  readonly #valuesMs: number[] = [];

  add(valueMs: number): void {
    this.#valuesMs.push(valueMs);
  }

  get count(): number {
    return this.#valuesMs.length;
  }

  get longestMs(): number {
    return this.#valuesMs.reduce((most, value) => Math.max(most, value), 0);
  }

  get medianMs(): number {
    const sorted = [...this.#valuesMs].sort((left, right) => left - right);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  }

  /** One line for each bucket from the first to the last that holds something; bars grow with the logarithm of the count. */
  lines(): string[] {
    const counts = new Map<number, number>();
    for (const value of this.#valuesMs) {
      const bucket = Math.ceil(Math.log2(Math.max(value, 1 / 16)));
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    }
    const buckets = [...counts.keys()];
    const first = Math.min(...buckets);
    const most = Math.log2(1 + Math.max(...counts.values()));
    return Array.from({ length: buckets.length === 0 ? 0 : Math.max(...buckets) - first + 1 }, (_, index) => {
      const count = counts.get(first + index) ?? 0;
      const bar = '#'.repeat(Math.round((COLUMNS * Math.log2(1 + count)) / most));
      return `${`<= ${2 ** (first + index)} ms`.padStart(14)} ${String(count).padStart(8)} ${bar}`;
    });
  }
}
