/**
 * Assertions that stay on in production. A failed assertion is a bug in this program: the process dies.
 * Bad input, a dead peer or a failing disk is never an assertion.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the default branch of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable value: ${String(value)}`);
}
