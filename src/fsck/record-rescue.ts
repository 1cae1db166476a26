/**
 * A record that cannot be read in the primary's own store is taken from a member's replica that stands behind the same checkpoint. Only at rest:
 * nothing can have changed the record since.
 */
import { FormatError } from '../format/fields.ts';
import { isMemberFailure, MemberClient } from '../metadata/member-client.ts';
import type { CheckContext } from './check-context.ts';

/** `decode` throws FormatError for what is damaged there, too. */
export function rescuedRecord(
  context: CheckContext,
  key: Buffer,
  decode: (value: Buffer) => unknown,
): () => Promise<boolean> {
  return async () => {
    if (!context.atRest) return false;
    const { links, metadata } = context.volume;
    for (const { nodeId } of metadata.ensemble) {
      const value = await recordOf(context, new MemberClient(links, nodeId), key);
      if (value === undefined || !isSound(decode, value)) continue;
      return metadata.repair((redo) => {
        redo.setRecord(key.toString('latin1'), value);
        return true;
      });
    }
    return false;
  };
}

/** undefined: it does not have it, or stands elsewhere. */
async function recordOf(
  context: CheckContext,
  client: MemberClient,
  key: Buffer,
): Promise<Buffer | undefined> {
  try {
    const page = await client.readSnapshot(0, keyBefore(key));
    const [first] = page.operations;
    if (page.appliedSequence !== context.view.appliedSequence || first?.value === undefined) return undefined;
    return Buffer.compare(first.key, key) === 0 ? Buffer.from(first.value) : undefined;
  } catch (error) {
    if (isMemberFailure(error)) return undefined;
    throw error;
  }
}

/** A key right before this one: no record's key lies between the two. */
function keyBefore(key: Buffer): Buffer {
  const last = key[key.length - 1]!;
  if (last === 0) return key.subarray(0, key.length - 1);
  return Buffer.concat([key.subarray(0, key.length - 1), Buffer.from([last - 1]), Buffer.alloc(32, 0xff)]);
}

function isSound(decode: (value: Buffer) => unknown, value: Buffer): boolean {
  try {
    decode(value);
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}
