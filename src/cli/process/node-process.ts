/** A storage node's process: `tartan node run`. */
import type { Logger } from '../../platform/platform.ts';
import { realLogger } from '../../platform/real/logger.ts';
import { realPlatform } from '../../platform/real/real-platform.ts';
import { startStorageNode } from '../../storage/storage-node.ts';
import { asFailure } from '../failure.ts';
import { readVolumeFile, readVolumeKey } from '../volume/volume-file.ts';
import { nodeProcessName, type VolumeLayout } from '../volume/volume-layout.ts';
import { diskSharers } from './disk-sharers.ts';
import { runLongLived } from './long-running.ts';
import { identityOf, removeProcessFile, writeProcessFile } from './process-file.ts';

export interface NodeProcessOptions {
  readonly layout: VolumeLayout;
  readonly id: number;
  readonly supervised: boolean;
}

export async function runNodeProcess({ layout, id, supervised }: NodeProcessOptions): Promise<void> {
  const name = nodeProcessName(id);
  const log: Logger = realLogger().child({ node: id });
  const pidFile = layout.pidFile(name);
  await runLongLived(name, {
    directory: layout.directory,
    log,
    logFile: supervised ? layout.logFile(name) : undefined,
    start: async (reporter) => {
      const volume = readVolumeFile(layout);
      const identity = identityOf(process.pid);
      if (identity !== undefined) writeProcessFile(pidFile, identity);
      reporter.phase('reading its logs');
      const capacityBytes = volume.nodeSettings?.[id]?.capacityBytes ?? volume.capacityBytes;
      try {
        const node = await startStorageNode(realPlatform({ log }), {
          directory: layout.nodeDirectory(id),
          nodeId: id,
          volumeId: volume.volumeId,
          key: readVolumeKey(layout),
          address: { kind: 'unix', path: layout.nodeSocket(id) },
          diskSharers: diskSharers(layout, volume.nodes.length),
          ...(capacityBytes === null ? {} : { capacityBytes }),
        });
        return async () => {
          await node.close();
          removeProcessFile(pidFile);
        };
      } catch (error) {
        throw asFailure(error, layout.nodeDirectory(id));
      }
    },
  });
}
