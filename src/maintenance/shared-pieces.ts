/**
 * Pieces of the memory that is shared with the nodes of this machine, for what background work puts: payloads in them go by reference, others through a
 * socket. They are a part of the slab of their own, so whatever background work does, writers have all of their slots; and they are few: who
 * finds none goes without.
 *
 * A piece that may still be touched, by a read or a put that did not end in time, is not given back before that is over.
 */
import { assert } from '../base/assert.ts';

export class SharedPieces {
  readonly #pieceBytes: number;
  readonly #free: Buffer[];

  /** All of one length. */
  constructor(pieces: readonly Buffer[]) {
    this.#pieceBytes = pieces[0]?.length ?? 0;
    assert(
      pieces.every(({ length }) => length === this.#pieceBytes),
      'pieces are of one length',
    );
    this.#free = [...pieces];
  }

  get freeCount(): number {
    return this.#free.length;
  }

  /** undefined: none is left, or none is that long. */
  take(lengthBytes: number): Buffer | undefined {
    return lengthBytes > this.#pieceBytes ? undefined : this.#free.pop();
  }

  give(piece: Buffer): void {
    assert(piece.length === this.#pieceBytes && !this.#free.includes(piece), 'a piece is given back once');
    this.#free.push(piece);
  }
}
