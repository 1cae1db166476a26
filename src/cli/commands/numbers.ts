/** Option values that are numbers or sizes, checked where they are parsed. */
import { CommandFailure, exitCodes } from '../failure.ts';
import { parseSize } from '../volume/sizes.ts';

export function parseCount(option: string): (text: string) => number {
  return (text) => {
    if (/^\d{1,5}$/.test(text)) return Number(text);
    throw new CommandFailure(exitCodes.usage, `${option} ${text}: a whole number is expected`);
  };
}

export function parseCapacity(text: string): number {
  const bytes = parseSize(text);
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new CommandFailure(exitCodes.usage, `--capacity ${text}: a size such as 500M or 20G is expected`);
}
