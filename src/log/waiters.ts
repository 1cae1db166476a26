/** Callers that wait for one condition: all of them resume, or fail, together. Their number is bounded by what they came with. */
export class Waiters {
  #waiting: { resolve: () => void; reject: (reason: Error) => void }[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  resolveAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { resolve } of waiting) resolve();
  }

  rejectAll(reason: Error): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(reason);
  }
}
