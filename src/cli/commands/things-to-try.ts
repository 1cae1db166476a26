/** The last words of `up`: that it is there, and three things to try. */
import type { VolumeFile } from '../volume/volume-file.ts';
import { DEFAULT_VOLUME_NAME, defaultVolumeDirectory, type VolumeLayout } from '../volume/volume-layout.ts';

/** The option that says which volume is meant, empty for the default one. */
function volumeArgument(volume: VolumeFile, layout: VolumeLayout): string {
  if (layout.directory !== defaultVolumeDirectory(volume.name)) return ` --dir ${layout.directory}`;
  return volume.name === DEFAULT_VOLUME_NAME ? '' : ` --volume ${volume.name}`;
}

export function thingsToTry(volume: VolumeFile, layout: VolumeLayout): string {
  const tartan = process.env.npm_lifecycle_event === undefined ? 'tartan' : 'npx tartan';
  const which = volumeArgument(volume, layout);
  const victim = volume.nodes.at(-1);
  const nodes = volume.nodes.length === 1 ? 'one node' : `${volume.nodes.length} nodes`;
  const lines = [
    '',
    `${volume.mountPoint} is ready: ${volume.dataFragments} data + ${volume.parityFragments} parity over ${nodes}. Try:`,
    '',
    `  cp -a /usr/share/doc ${volume.mountPoint} && ${tartan} explain ${volume.mountPoint}/doc/bash/copyright`,
  ];
  if (volume.parityFragments > 0) {
    lines.push(
      `  ${tartan} node kill ${victim}${which} && diff -r --no-dereference /usr/share/doc ${volume.mountPoint}/doc && echo every byte is there`,
    );
  } else {
    lines.push(
      `  diff -r --no-dereference /usr/share/doc ${volume.mountPoint}/doc && echo every byte is there`,
    );
  }
  lines.push(`  ${tartan} status${which}          (and later: ${tartan} down${which})`, '', '');
  return lines.join('\n');
}
