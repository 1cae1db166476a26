/** A storage node's process: `tartan node run`. */
import { type Logger, MachineError } from '../../platform/platform.ts';
import { realLogger } from '../../platform/real/logger.ts';
import { realPlatform } from '../../platform/real/real-platform.ts';
import { startStorageNode } from '../../storage/storage-node.ts';
import { asFailure, CommandFailure, exitCodes } from '../failure.ts';
import { readVolumeFile, readVolumeKey } from '../volume/volume-file.ts';
import { nodeProcessName, type VolumeLayout } from '../volume/volume-layout.ts';
import { diskSharers } from './disk-sharers.ts';
import { runLongLived } from './long-running.ts';
import { keepProcessFile } from './process-file.ts';

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
      const unname = keepProcessFile(pidFile, log);
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
          unname();
        };
      } catch (error) {
        if (error instanceof MachineError && error.code === 'EBUSY') {
          throw new CommandFailure(exitCodes.unavailable, `node ${id} is running already`, error);
        }
        throw asFailure(error, layout.nodeDirectory(id));
      }
    },
  });
}
