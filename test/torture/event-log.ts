/** What happened when: on standard output, and in a file beside the volume's logs. */
import { appendFileSync } from 'node:fs';

export class EventLog {
  readonly #file: string;
  readonly #startMs = performance.now();

  constructor(file: string) {
    this.#file = file;
  }

  get elapsedMs(): number {
    return performance.now() - this.#startMs;
  }

  /** The wall-clock time in the file is that of the processes' logs. */
  say(text: string): void {
    const seconds = (this.elapsedMs / 1000).toFixed(3).padStart(9);
    process.stdout.write(`${seconds}  ${text}\n`);
    appendFileSync(this.#file, `${new Date().toISOString()} ${seconds}  ${text}\n`);
  }
}
