import { readdirSync, readlinkSync } from 'node:fs';

/** This process's open descriptors whose target contains the text. */
export function openDescriptors(text: string): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).includes(text);
    } catch {
      return false; // the descriptor of the listing itself
    }
  }).length;
}
