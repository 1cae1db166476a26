/** Golden files: bytes that an earlier version wrote, as hex text with comments. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function golden(name: string): Buffer {
  const path = fileURLToPath(new URL(`../../golden/${name}.hex`, import.meta.url));
  const text = readFileSync(path, 'utf8').replace(/#.*$/gm, '').replace(/\s+/g, '');
  return Buffer.from(text, 'hex');
}
