/**
 * The proofs of the handshake (docs/format/frame.md): both sides show that they know the volume's key, without sending it.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
/** Longest body of a handshake frame. */
export const HANDSHAKE_BODY_BYTES = NONCE_BYTES + PROOF_BYTES;

export type HandshakeRole = 'client' | 'server';

export function proofOf(
  role: HandshakeRole,
  key: Uint8Array,
  serverNonce: Uint8Array,
  clientNonce: Uint8Array,
): Buffer {
  return createHmac('sha256', key)
    .update(`tartanfs 1 ${role}\0`)
    .update(serverNonce)
    .update(clientNonce)
    .digest();
}

export function provesKey(
  proof: Uint8Array,
  role: HandshakeRole,
  key: Uint8Array,
  serverNonce: Uint8Array,
  clientNonce: Uint8Array,
): boolean {
  const expected = proofOf(role, key, serverNonce, clientNonce);
  return proof.length === expected.length && timingSafeEqual(proof, expected);
}
