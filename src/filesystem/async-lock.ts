/**
 * A lock for operations that have to wait in the middle. While nobody holds it, a task runs in the same turn, and a task that
 * does not wait gives it back in the same turn. Tasks that find it held run in the order they came.
 *
 * Its owner bounds the number of waiting tasks (the kernel's requests in flight).
 */
export class AsyncLock {
  #held = false;
  readonly #waiting: (() => void)[] = [];

  get held(): boolean {
    return this.#held;
  }

  run<T>(task: () => T | Promise<T>): T | Promise<T> {
    if (!this.#held) return this.#enter(task);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(this.#enter(task));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #enter<T>(task: () => T | Promise<T>): T | Promise<T> {
    this.#held = true;
    let result: T | Promise<T>;
    try {
      result = task();
    } catch (error) {
      this.#leave();
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.#leave());
    this.#leave();
    return result;
  }

  #leave(): void {
    this.#held = false;
    this.#waiting.shift()?.();
  }
}
