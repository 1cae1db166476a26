/**
 * Structured log lines on standard error: one line an event, as text for people or as JSON for machines. Lines are written at once, so that
 * the last ones before a crash are there.
 */
import { writeSync } from 'node:fs';
import type { LogFields, Logger } from '../platform.ts';

const levels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof levels)[number];

export interface LoggerOptions {
  /** Events below this level are dropped. Default: info. */
  readonly level?: LogLevel;
  readonly json?: boolean;
  /** Default: standard error. */
  readonly descriptor?: number;
}

export function realLogger(options: LoggerOptions = {}): Logger {
  const descriptor = options.descriptor ?? 2;
  const format = options.json === true ? jsonLine : textLine;
  const least = levels.indexOf(options.level ?? 'info');
  const write = (level: LogLevel, event: string, fields: LogFields): void => {
    try {
      writeSync(descriptor, format(new Date(), level, event, fields));
    } catch {
      // A log that cannot be written (full disk, closed pipe) must not stop the file system.
    }
  };
  return makeLogger(write, least, {});
}

type Write = (level: LogLevel, event: string, fields: LogFields) => void;

function makeLogger(write: Write, least: number, common: LogFields): Logger {
  const at = (level: LogLevel) => {
    if (levels.indexOf(level) < least) return () => {};
    return (event: string, fields: LogFields = {}) => write(level, event, { ...common, ...fields });
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => makeLogger(write, least, { ...common, ...fields }),
  };
}

function jsonLine(time: Date, level: LogLevel, event: string, fields: LogFields): string {
  return `${JSON.stringify({ time: time.toISOString(), level, event, ...fields })}\n`;
}

function textLine(time: Date, level: LogLevel, event: string, fields: LogFields): string {
  let line = `${time.toISOString()} ${level} ${event}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const text = String(value);
    line += ` ${name}=${/^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text)}`;
  }
  return `${line}\n`;
}
