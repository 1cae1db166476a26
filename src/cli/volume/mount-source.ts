/**
 * A mount's source, as df and /proc/mounts show it, is what `tartan mount` takes as SPEC: the volume's name when its state lies
 * where the name says, and the directory otherwise. So a mount point leads back to its volume.
 */
import { defaultVolumeDirectory, type VolumeLayout } from './volume-layout.ts';

export function mountSource(name: string, layout: VolumeLayout): string {
  return layout.directory === defaultVolumeDirectory(name) ? name : layout.directory;
}
