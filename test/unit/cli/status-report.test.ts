import { describe, expect, test } from 'vitest';
import { type StatusReport, statusReport } from '../../../src/cli/status/status-report.ts';
import { statusText } from '../../../src/cli/status/status-text.ts';
import type {
  MountFacts,
  MountStatistics,
  NodeFacts,
  VolumeFacts,
} from '../../../src/cli/supervisor/control-messages.ts';
import type { VolumeFile } from '../../../src/cli/volume/volume-file.ts';

const volume: VolumeFile = {
  formatVersion: 1,
  volumeId: '0'.repeat(32),
  name: 'plaid',
  nodes: [1, 2, 3, 4, 5],
  dataFragments: 4,
  parityFragments: 1,
  capacityBytes: null,
  mountPoint: '/mnt/plaid',
  frontend: 'native',
};

const statistics: MountStatistics = {
  journal: {
    term: 3,
    wanted: 2,
    lastSequence: 9,
    committedSequence: 7,
    checkpointSequence: 5,
    replicas: [
      {
        nodeId: 1,
        state: 'current',
        durableSequence: 7,
        lagEntries: 2,
        lagBytes: 300,
        checkpointSequence: 5,
      },
      { nodeId: 2, state: 'current', durableSequence: 9, lagEntries: 0, lagBytes: 0, checkpointSequence: 4 },
    ],
  },
  metadataTrouble: null,
  logTrouble: null,
  files: 10,
  totalBytes: 4000,
  usedBytes: 1000,
  availableBytes: 3000,
  segments: 20,
  degradedSegments: 0,
  unreadableSegments: 0,
  bytesToRepair: 0,
  work: [],
  draining: [{ id: 2, bytesLeft: 7, journal: true }],
  availability: {
    ...{ state: 'idle', segmentsLeft: 0, leftBytes: 0, doneBytes: 0, bytesPerSecond: 0, secondsLeft: null },
    ...{
      paused: false,
      limitBytesPerSecond: 0,
      segmentsKnown: true,
      layout: { dataFragments: 4, parityFragments: 1 },
      written: { dataFragments: 4, parityFragments: 1 },
      groups: [],
      next: null,
    },
    ...{ targetUnavailability: 1e-4, predictedUnavailability: 1e-5, remedies: [] },
    nodes: [{ id: 2, unavailability: 0.002, low: 0.001, high: 0.004 }],
    ...{ carriedBytesPerSecond: 100e6, domains: [] },
  },
  copies: { copiedSegments: 2, copies: 5, bytes: 4096 },
  blocksRebuilt: 0,
  corruptBlocks: 0,
  cleaning: {
    ...{ running: false, cleanedSegments: 3, reclaimableBytes: 4096 },
    ...{ movedBytes: 8192, writtenBytes: 16384 },
  },
};

const mounted: MountFacts = {
  path: '/mnt/plaid',
  pid: 99,
  process: 'running',
  detail: '',
  failure: null,
  statistics,
};

function node(id: number, change: Partial<NodeFacts> = {}): NodeFacts {
  return {
    id,
    address: `unix:/run/node-${id}.sock`,
    pid: 100 + id,
    process: 'running',
    detail: '',
    stoppedOnPurpose: false,
    failure: null,
    link: 'up',
    domain: null,
    usedBytes: 5,
    capacityBytes: 50,
    ...change,
  };
}

const gone = { pid: null, process: 'absent', link: 'down' } as const;

function report(change: Partial<VolumeFacts> = {}): StatusReport {
  const nodes = volume.nodes.map((id) => node(id));
  const facts: VolumeFacts = {
    supervisorPid: 1,
    restart: false,
    nodes,
    mount: mounted,
    manager: null,
    ...change,
  };
  return statusReport(volume, '/state', facts);
}

function withNodes(...changed: NodeFacts[]): StatusReport {
  const nodes = volume.nodes.map((id) => changed.find((each) => each.id === id) ?? node(id));
  return report({ nodes });
}

describe('the verdict', () => {
  test('is healthy when every node is up', () => {
    expect(report()).toMatchObject({ health: 'healthy', next: 'nothing to do' });
  });

  test('is degraded with one node away, and says how to bring it back', () => {
    expect(withNodes(node(3, gone))).toMatchObject({ health: 'degraded', next: 'tartan node start 3' });
  });

  test('is degraded while a node is frozen', () => {
    const { health, nodes, next } = withNodes(node(3, { link: 'slow' }));
    expect(health).toBe('degraded');
    expect(nodes[2]?.state).toBe('slow');
    expect(next).toContain('node kill 3');
  });

  test('is unavailable when data cannot be read', () => {
    const lost = { ...mounted, statistics: { ...statistics, unreadableSegments: 2 } };
    expect(report({ mount: lost })).toMatchObject({ health: 'unavailable' });
  });

  test('is unavailable when too few nodes are up to write', () => {
    const { health, reason } = withNodes(...[1, 2, 3, 4].map((id) => node(id, gone)));
    expect(health).toBe('unavailable');
    expect(reason).toContain('1 of 5 nodes');
  });

  test('is unavailable when nothing runs', () => {
    const { health, next, nodes } = statusReport(volume, '/state', undefined);
    expect({ health, next }).toEqual({ health: 'unavailable', next: 'tartan up' });
    expect(nodes.map((each) => each.state)).toEqual(Array(5).fill('stopped'));
  });

  test('is unavailable when the mount process died, and the reason is its own', () => {
    const dead: MountFacts = {
      ...mounted,
      pid: null,
      process: 'absent',
      statistics: null,
      failure: 'mount was killed',
    };
    const { health, reason, mounts } = report({ mount: dead });
    expect(health).toBe('unavailable');
    expect(reason).toContain('mount was killed');
    expect(mounts).toEqual([]);
  });

  test('is unavailable when the mount process does not answer', () => {
    expect(report({ mount: { ...mounted, statistics: null } }).health).toBe('unavailable');
  });

  test('is unavailable while the journal or the log cannot be written', () => {
    const trouble = {
      ...mounted,
      statistics: { ...statistics, metadataTrouble: 'no journal member answers' },
    };
    expect(report({ mount: trouble })).toMatchObject({
      health: 'unavailable',
      reason: 'no journal member answers',
    });
  });
});

describe('a node', () => {
  test.each([
    ['up', {}],
    ['slow', { link: 'slow' }],
    ['starting', { process: 'starting', link: 'down' }],
    ['down', { link: 'down' }],
    ['down', gone],
    ['stopped', { ...gone, stoppedOnPurpose: true }],
    ['up', { pid: null, process: 'absent' }],
  ] as const)('shows as %s', (state, change) => {
    expect(withNodes(node(2, change)).nodes[1]?.state).toBe(state);
  });
});

describe('the JSON', () => {
  test('has the fields that scripts rely on', () => {
    expect(report()).toMatchObject({
      health: expect.any(String),
      reason: expect.any(String),
      next: expect.any(String),
      nodes: expect.arrayContaining([
        {
          ...{ id: 2, state: 'up', pid: 102, address: 'unix:/run/node-2.sock' },
          ...{ usedBytes: 5, capacityBytes: 50, unavailability: 0.002 },
          domain: null,
          draining: { bytesLeft: 7, journal: true },
        },
      ]),
      mounts: [{ path: '/mnt/plaid', pid: 99, primary: true }],
      manager: {
        term: 3,
        primary: '/mnt/plaid',
        committedSequence: 7,
        checkpointSequence: 5,
        replicas: [
          {
            node: 1,
            state: 'current',
            durableSequence: 7,
            lagEntries: 2,
            lagBytes: 300,
            checkpointSequence: 5,
            checkpointLagEntries: 0,
          },
          expect.objectContaining({ node: 2, checkpointLagEntries: 1 }),
        ],
      },
      redundancy: { data: 4, parity: 1, degradedSegments: 0, bytesToRepair: 0 },
      capacity: { totalBytes: 4000, usedBytes: 1000, availableBytes: 3000 },
      availability: {
        targetUnavailability: 1e-4,
        predictedUnavailability: 1e-5,
        written: { dataFragments: 4, parityFragments: 1 },
        groups: [],
        next: null,
        remedies: [],
      },
    });
  });
});

describe('the text', () => {
  test('tells term, primary, and how far each replica is', () => {
    const text = statusText(report());
    expect(text).toContain('metadata    term 3, primary at /mnt/plaid, 7 entries');
    expect(text).toContain('replica   node 1: current, 2 entries (300 B) behind, checkpoint as the primary');
    expect(text).toContain('replica   node 2: current, no entries behind, checkpoint 1 entries older');
  });

  test('tells how available the volume is, and how often each node is away', () => {
    const text = statusText(report());
    expect(text).toContain('available   99.9990% predicted, target 99.990%');
    expect(text).toMatch(/^ *2 {2}up, draining, 7 B left .* 0\.2% /m);
  });

  test('begins with the verdict and what to do', () => {
    const lines = statusText(withNodes(node(3, gone))).split('\n');
    expect(lines[0]).toMatch(/^plaid: degraded - node 3/);
    expect(lines[1]).toBe('next: tartan node start 3');
  });
});
