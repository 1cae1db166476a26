/** What a seed is valid for: the package's version and those of the formats, since other code makes another run of the same seed. */
import { readFileSync } from 'node:fs';
import { FRAME_VERSION } from '../format/frame.ts';

const VOLUME_FORMAT_VERSION = 1;

export function simulatedVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return `tartanfs ${version} (volume format ${VOLUME_FORMAT_VERSION}, wire ${FRAME_VERSION})`;
}
