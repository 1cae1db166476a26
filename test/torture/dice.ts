/** Numbers from a seed: the same ones in every run. Not for secrets. */
export class Dice {
  #state: number;

  /** `purpose` gives each user of one seed numbers of its own. */
  constructor(seed: number, purpose: string) {
    let state = (seed ^ 0x9e3779b9) >>> 0;
    for (const character of purpose)
      state = Math.imul(state ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
    this.#state = state;
    this.#next();
  }

  /** Mulberry32. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return (value ^ (value >>> 14)) >>> 0;
  }

  /** A whole number from `least` to `most`, both possible. */
  between(least: number, most: number): number {
    return least + (this.#next() % (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.#next() < probability * 2 ** 32;
  }

  pick<T>(choices: readonly T[]): T {
    const found = choices[this.between(0, choices.length - 1)];
    if (found === undefined) throw new RangeError('nothing to choose from');
    return found;
  }

  shuffled<T>(values: readonly T[]): T[] {
    const rest = [...values];
    const result: T[] = [];
    while (rest.length > 0) result.push(...rest.splice(this.between(0, rest.length - 1), 1));
    return result;
  }
}
