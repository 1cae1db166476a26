/** Cuts the extents of a file where its data passes from one fragment to the next, and shows them. Pure. */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { ExplainedSegment, Explanation } from '../supervisor/control-messages.ts';
import { formatTable } from '../terminal/table.ts';
import { formatSize } from '../volume/sizes.ts';
import { useText } from './copies-text.ts';

export interface ExplainedPiece {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: 'hole' | 'segment' | 'journal';
  /** term.counter */
  readonly segment: string;
  readonly fragment: number | null;
  /** The node of the fragment, and that of its copy if there is one; for a journaled block the members of the journal. */
  readonly nodes: readonly number[];
  readonly parityNodes: readonly number[];
}

const TERM_FACTOR = 2 ** 32;

export function segmentName(segmentId: number): string {
  return `${Math.floor(segmentId / TERM_FACTOR)}.${segmentId % TERM_FACTOR}`;
}

export function explainedRows(explanation: Explanation): ExplainedPiece[] {
  const segments = new Map(explanation.segments.map((segment) => [segment.segmentId, segment]));
  const pieces: ExplainedPiece[] = [];
  for (const extent of explanation.extents) {
    let { fileBlock, blockIndex } = extent;
    let left = extent.blocks;
    const segment = segments.get(extent.segmentId);
    while (left > 0) {
      const count =
        segment === undefined || segment.journaledOn !== null
          ? left
          : Math.min(left, segment.fragmentBlocks - (blockIndex % segment.fragmentBlocks));
      pieces.push({
        offsetBytes: fileBlock * BLOCK_BYTES,
        lengthBytes: count * BLOCK_BYTES,
        ...whereabouts(extent.segmentId, segment, blockIndex),
      });
      fileBlock += count;
      blockIndex += count;
      left -= count;
    }
  }
  return pieces;
}

function whereabouts(
  segmentId: number,
  segment: ExplainedSegment | undefined,
  blockIndex: number,
): Pick<ExplainedPiece, 'kind' | 'segment' | 'fragment' | 'nodes' | 'parityNodes'> {
  if (segment === undefined) return { kind: 'hole', segment: '', fragment: null, nodes: [], parityNodes: [] };
  const segmentText = segmentName(segmentId);
  if (segment.journaledOn !== null) {
    return {
      kind: 'journal',
      segment: segmentText,
      fragment: null,
      nodes: segment.journaledOn,
      parityNodes: [],
    };
  }
  const fragment = Math.floor(blockIndex / segment.fragmentBlocks);
  return {
    kind: 'segment',
    segment: segmentText,
    fragment,
    nodes: [...segment.nodes.slice(fragment, fragment + 1), ...copyNodes(segment, fragment)],
    parityNodes: segment.nodes.slice(segment.dataFragments),
  };
}

function copyNodes({ use }: ExplainedSegment, fragment: number): number[] {
  return (use?.copies ?? []).filter(({ position }) => position === fragment).map(({ nodeId }) => nodeId);
}

export function explanationText(path: string, explanation: Explanation): string {
  const rows = explainedRows(explanation).map((piece) => [
    String(piece.offsetBytes),
    formatSize(piece.lengthBytes),
    piece.kind === 'hole' ? 'hole' : piece.segment,
    piece.kind === 'journal' ? 'journal' : piece.fragment === null ? '' : String(piece.fragment),
    piece.nodes.join(' '),
    piece.parityNodes.join(' '),
  ]);
  const title = `${path}: inode ${explanation.inode}, ${explanation.sizeBytes} bytes`;
  if (rows.length === 0) return `${title}, no blocks`;
  const table = formatTable(
    [
      { title: 'OFFSET', align: 'right' },
      { title: 'LENGTH', align: 'right' },
      { title: 'SEGMENT' },
      { title: 'FRAGMENT' },
      { title: 'NODE' },
      { title: 'PARITY ON' },
    ],
    rows,
  );
  const uses = explanation.segments.flatMap(({ segmentId, use }) =>
    use === null ? [] : [`\nsegment ${segmentName(segmentId)}: ${useText(use)}`],
  );
  return `${title}\n${table}${explanation.truncated ? '\n... and more extents' : ''}${uses.join('')}`;
}
