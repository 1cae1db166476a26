/** Steps that stay in this turn as long as the file system answers in it. */
import type { MaybePromise } from '../filesystem/file-system.ts';

export function andThen<T, U>(first: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return first instanceof Promise ? first.then(next) : next(first);
}

/** Runs a step; what it throws, now or later, goes to `recover`. */
export function attempt<T>(
  step: () => MaybePromise<T>,
  recover: (error: unknown) => MaybePromise<T>,
): MaybePromise<T> {
  try {
    const result = step();
    return result instanceof Promise ? result.catch(recover) : result;
  } catch (error) {
    return recover(error);
  }
}
