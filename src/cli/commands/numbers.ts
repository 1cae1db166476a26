/** Option values that are numbers or sizes, checked where they are parsed. */
import { CommandFailure, exitCodes } from '../failure.ts';
import { parseSize } from '../volume/sizes.ts';
import { isDomainLabel } from '../volume/volume-file.ts';

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

export function parseDomain(text: string): string {
  if (isDomainLabel(text)) return text;
  throw new CommandFailure(
    exitCodes.usage,
    `label ${text}: it has letters, digits, dots, dashes and underscores, at most 63, and is no number`,
  );
}

/** Bytes per second. */
export function parseRate(text: string): number {
  const bytes = parseSize(text.replace(/\/s$/, ''));
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new CommandFailure(
    exitCodes.usage,
    `rate ${text}: bytes per second such as 50M are expected, or none`,
  );
}

/** How often in a day. */
export function parsePerDay(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new CommandFailure(
    exitCodes.usage,
    `--reads-per-day ${text}: a whole number of 1 or more is expected`,
  );
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
const MOST_SECONDS = 10 * 365 * 86_400;

/** Seconds. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  const seconds = Number(match?.[1]) * SECONDS[(match?.[2] || 's') as keyof typeof SECONDS];
  if (match !== null && seconds <= MOST_SECONDS) return seconds;
  throw new CommandFailure(exitCodes.usage, `${text}: a time such as 60s, 5m, 2h or 30d is expected`);
}

/** A share of time in percent, as a number 0..1. */
export function parsePercent(option: string): (text: string) => number {
  return (text) => {
    const percent = /^(\d{1,2}(?:\.\d{1,12})?|100)%?$/.exec(text)?.[1];
    if (percent !== undefined) return Number(percent) / 100;
    throw new CommandFailure(exitCodes.usage, `${option} ${text}: a percentage such as 99.99 is expected`);
  };
}
