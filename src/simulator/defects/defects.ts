/** The deliberate defects, by name. */
import { decodeAppendRequest } from '../../format/journal-messages.ts';
import { FragmentReader as MountFragmentReader } from '../../log/fragment-reader.ts';
import { PrimaryManager } from '../../metadata/manager.ts';
import { MemberClient } from '../../metadata/member-client.ts';
import { FragmentReader as NodeFragmentReader } from '../../storage/fragment-reader.ts';
import { FragmentStore } from '../../storage/fragment-store.ts';
import { JournalStore } from '../../storage/journal-store.ts';
import type { Defect } from './defect.ts';
import { replaceMethod } from './defect.ts';
import { withoutSyncs } from './unsynced-disk.ts';

const FREE_EVERY_MS = 500;
const CARELESS_NODE = 1;

export const defects: readonly Defect[] = [
  {
    name: 'acknowledge-before-sync',
    about: 'nodes answer before what they were given is on the disk',
    alter: (process) => (process.name.includes('node-') ? withoutSyncs(process) : process),
  },
  {
    name: 'no-parity',
    about: 'segments are committed though nobody has stored their parity',
    patch: () =>
      replaceMethod(
        FragmentStore.prototype,
        'put',
        (original) =>
          async function (this: FragmentStore, description, payload) {
            if (description.position < description.dataFragments)
              return original.call(this, description, payload);
            const location = { fileId: 1, payloadOffset: 0, fragmentBlocks: description.fragmentBlocks };
            return { location, freeBytes: this.freeBytes };
          },
      ),
  },
  {
    name: 'old-term',
    about: 'journal members take appends of a primary that was deposed',
    patch: () => replaceMethod(JournalStore.prototype, 'mustReign', () => () => undefined),
  },
  {
    name: 'no-checksums',
    about: 'what is read is not compared with its checksum',
    patch: () => {
      const undo = [
        replaceMethod(MountFragmentReader.prototype, 'matches', () => () => true),
        replaceMethod(NodeFragmentReader.prototype, 'verify', () => () => undefined),
      ];
      return () => {
        for (const each of undo) each();
      };
    },
  },
  {
    name: 'free-live',
    about: 'now and then the fragments of a segment with live blocks are freed',
    onMounted: (volume, world) => {
      const freeOne = async (): Promise<void> => {
        const [record] = await volume.metadata.segments(0, 1);
        if (record !== undefined && record.liveBlocks > 0) volume.writer.free(record);
        world.scheduler.after(FREE_EVERY_MS, () => void freeOne());
      };
      world.scheduler.after(FREE_EVERY_MS, () => void freeOne());
    },
  },
  {
    name: 'ignored-member',
    about: 'an entry counts as committed without one of the members',
    patch: () =>
      replaceMethod(
        MemberClient.prototype,
        'appendThen',
        (original) =>
          function (this: MemberClient, body, done, failed) {
            if (this.nodeId !== CARELESS_NODE) {
              original.call(this, body, done, failed);
              return;
            }
            const { previousSequence, entries } = decodeAppendRequest(Buffer.from(body));
            original.call(
              this,
              body,
              () => undefined,
              () => undefined,
            );
            void Promise.resolve().then(() => done(previousSequence + entries.length));
          },
      ),
  },
  {
    name: 'dropped-inline',
    about: 'what was synced into the journal only is forgotten by the next primary',
    patch: () =>
      replaceMethod(
        PrimaryManager.prototype,
        'takeRecoveredInline',
        (original) =>
          function (this: PrimaryManager) {
            original.call(this);
            return [];
          },
      ),
  },
  {
    name: 'reused-segment-id',
    about: 'every primary counts its segments from the same number',
    patch: () => {
      const descriptor = Object.getOwnPropertyDescriptor(PrimaryManager.prototype, 'term')!;
      Object.defineProperty(PrimaryManager.prototype, 'term', { ...descriptor, get: () => 1 });
      return () => Object.defineProperty(PrimaryManager.prototype, 'term', descriptor);
    },
  },
];

export function defectNamed(name: string): Defect | undefined {
  return defects.find((defect) => defect.name === name);
}
