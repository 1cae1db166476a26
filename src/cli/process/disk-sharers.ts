/** How many nodes share the disk that a node's process fills: those that volume.json names, which others change while it runs. */
import { statSync } from 'node:fs';
import { readVolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';

const LOOK_EVERY_MS = 500;

/** `atFirst`: as was just read. The file is looked at when somebody asks, and not more often than it makes a difference. */
export function diskSharers(
  layout: VolumeLayout,
  atFirst: number,
  now = () => performance.now(),
): () => number {
  let count = atFirst;
  let seen = stamp(layout);
  let lookedMs = now();
  return () => {
    const nowMs = now();
    if (nowMs - lookedMs < LOOK_EVERY_MS) return count;
    lookedMs = nowMs;
    const stampNow = stamp(layout);
    if (stampNow === undefined || stampNow === seen) return count;
    try {
      count = readVolumeFile(layout).nodes.length;
      seen = stampNow;
    } catch {
      // A file that cannot be used is for commands to complain about: what held before goes on.
    }
    return count;
  };
}

/** It is replaced as a whole. */
function stamp({ settingsFile }: VolumeLayout): string | undefined {
  const stats = statSync(settingsFile, { throwIfNoEntry: false });
  return stats === undefined ? undefined : `${stats.ino} ${stats.mtimeMs}`;
}
