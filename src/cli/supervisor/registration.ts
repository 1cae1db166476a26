/** Tells the coordinator what the volume's file says. Writes what differs: processes go by the coordinator, and it by the file. Nodes that were removed are not its. */
import { type Coordinator, coordinatorKeys, type NodeRecord } from '../../cluster/coordinator.ts';
import { encodeRecord } from '../../cluster/node-record.ts';
import { highestNode, type VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';

export async function registerVolume(
  coordinator: Coordinator,
  volume: VolumeFile,
  layout: VolumeLayout,
): Promise<void> {
  const { formatVersion, name, volumeId, dataFragments, parityFragments } = volume;
  await putIfDifferent(
    coordinator,
    coordinatorKeys.volume,
    encodeRecord({ formatVersion, name, volumeId, dataFragments, parityFragments }),
  );
  for (const id of volume.nodes) {
    const domain = volume.nodeSettings?.[id]?.domain;
    const address = `unix:${layout.nodeSocket(id)}`;
    const record: NodeRecord = { id, address, ...(domain === undefined ? {} : { domain }) };
    await putIfDifferent(coordinator, coordinatorKeys.node(id), encodeRecord(record));
  }
}

/** Nodes that the coordinator lists, and that the file named once and names no longer. */
export async function removedNodes(coordinator: Coordinator, volume: VolumeFile): Promise<number[]> {
  const { nodePrefix } = coordinatorKeys;
  const listed = (await coordinator.list(nodePrefix)).map(({ key }) => Number(key.slice(nodePrefix.length)));
  return listed.filter((id) => id <= highestNode(volume) && !volume.nodes.includes(id));
}

async function putIfDifferent(coordinator: Coordinator, key: string, value: Buffer): Promise<void> {
  const present = await coordinator.get(key);
  if (present === undefined || !present.value.equals(value)) await coordinator.put(key, value);
}
