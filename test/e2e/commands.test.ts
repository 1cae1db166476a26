import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { StatusReport } from '../../src/cli/status/status-report.ts';
import { killProcess, PATIENT, TestVolume, tartan, tartanCommand } from './support/volume.ts';

const isMounted = (path: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `);

describe('a volume', () => {
  let volume: TestVolume;
  beforeAll(() => {
    volume = TestVolume.up();
  });
  afterAll(() => volume.destroy());

  test('is healthy after up, and status says so in the JSON that scripts rely on', () => {
    const report = volume.status();
    expect(report).toMatchObject({
      health: 'healthy',
      mounts: [{ path: volume.mountPoint, pid: expect.any(Number), primary: true }],
      manager: { term: expect.any(Number), replicas: expect.any(Array) },
      redundancy: { data: 4, parity: 1, degradedSegments: 0, bytesToRepair: 0 },
    });
    expect(report.nodes).toHaveLength(5);
    for (const node of report.nodes) expect(node).toMatchObject({ state: 'up', pid: expect.any(Number) });
    expect(report.capacity.availableBytes).toBeGreaterThan(0);
    expect(volume.try('status').status).toBe(0);
  });

  test('is left as it is by a second up', () => {
    const before = volume.status();
    volume.up();
    const after = volume.status();
    expect(after.nodes.map((node) => node.pid)).toEqual(before.nodes.map((node) => node.pid));
    expect(after.mounts).toEqual(before.mounts);
  });

  test('keeps files over down and up', () => {
    writeFileSync(volume.path('kept'), 'still here');
    volume.run('down');
    expect(isMounted(volume.mountPoint)).toBe(false);
    expect(volume.pids()).toEqual([]);
    expect(volume.try('status').status).toBe(69);
    volume.up();
    expect(readFileSync(volume.path('kept'), 'utf8')).toBe('still here');
  });

  test('shows which nodes hold a file', () => {
    writeFileSync(volume.path('explained'), Buffer.alloc(3_000_000, 1));
    const text = tartan('explain', volume.path('explained'), '--json');
    expect(text.status).toBe(0);
    const { pieces, sizeBytes } = JSON.parse(text.stdout);
    expect(sizeBytes).toBe(3_000_000);
    const covered = pieces.reduce(
      (sum: number, piece: { lengthBytes: number }) => sum + piece.lengthBytes,
      0,
    );
    expect(covered).toBe(Math.ceil(3_000_000 / 4096) * 4096);
    expect(tartan('explain', volume.path('explained')).stdout).toContain('SEGMENT');
  });

  test('is degraded while a node is killed, which stays down until it is started', async () => {
    volume.run('node', 'kill', '2');
    volume.up();
    const report = volume.status();
    expect(report.health).toBe('degraded');
    expect(report.nodes[1]?.state).toBe('stopped');
    volume.run('node', 'start', '2');
    await volume.untilHealthy();
  });

  test('gets a node back by up when something else killed it', async () => {
    process.kill(volume.nodePid(3), 'SIGKILL');
    volume.up();
    await volume.untilHealthy();
  });

  test('goes on when its supervisor is killed, and the next command finds one that knows everything', async () => {
    const before = volume.status();
    killProcess(before.supervisor.pid);
    writeFileSync(volume.path('unsupervised'), 'written');
    expect(readFileSync(volume.path('unsupervised'), 'utf8')).toBe('written');
    await volume.untilHealthy();
    const after = volume.status();
    expect(after.supervisor.pid).not.toBe(before.supervisor.pid);
    const idsAndPids = (report: StatusReport) => report.nodes.map(({ id, pid }) => [id, pid]);
    expect(idsAndPids(after)).toEqual(idsAndPids(before));
  });

  test('syncs what is written after its supervisor and a journal member are killed together', async () => {
    const { supervisor, manager, nodes } = volume.status();
    const member = nodes.find(({ id }) => id === manager.replicas[0]?.node);
    killProcess(supervisor.pid);
    killProcess(member?.pid);
    writeFileSync(volume.path('alone'), 'synced', { flush: true });
    volume.up();
    // The new supervisor's link to the node, and the comparison of what the node holds, may take a moment.
    await expect.poll(() => volume.status().reason, PATIENT).toBe('every node is up');
  });

  test('has a supervisor again though nobody gives a command', async () => {
    const before = volume.status().supervisor.pid;
    killProcess(before);
    const pidFile = join(volume.state, 'run', 'supervisor.pid');
    const pid = () => (JSON.parse(readFileSync(pidFile, 'utf8')) as { pid: number }).pid;
    await expect.poll(pid, PATIENT).not.toBe(before);
    expect(volume.status().supervisor.pid).toBe(pid());
  });

  test('is mounted again by up when its mount process was killed', () => {
    writeFileSync(volume.path('survivor'), 'x');
    execFileSync('sync', ['-f', volume.mountPoint]);
    killProcess(volume.status().mounts[0]?.pid);
    volume.up();
    expect(readFileSync(volume.path('survivor'), 'utf8')).toBe('x');
  });

  test('that is in use is not torn down, and the message names the user', async () => {
    const user = spawn('sleep', ['60'], { cwd: volume.mountPoint, stdio: 'ignore' });
    try {
      const outcome = volume.try('down');
      expect(outcome.status).toBe(69);
      expect(outcome.stderr).toContain(`sleep (${user.pid})`);
      expect(isMounted(volume.mountPoint)).toBe(true);
    } finally {
      user.kill('SIGKILL');
    }
  });

  test('can be unmounted and mounted elsewhere, read-only too', () => {
    const elsewhere = join(volume.base, 'elsewhere');
    writeFileSync(volume.path('moved'), 'x');
    expect(tartan('umount', volume.mountPoint)).toMatchObject({ status: 0 });
    expect(tartan('mount', volume.state, elsewhere, '-o', 'ro')).toMatchObject({ status: 0 });
    expect(readFileSync(join(elsewhere, 'moved'), 'utf8')).toBe('x');
    expect(() => writeFileSync(join(elsewhere, 'new'), 'x')).toThrow('EROFS');
    expect(tartan('umount', elsewhere)).toMatchObject({ status: 0 });
    volume.up();
    expect(existsSync(volume.path('moved'))).toBe(true);
  });

  test('cannot be changed in shape by up, and the message says so', () => {
    const outcome = volume.try('up', '--nodes', '4');
    expect(outcome.status).toBe(78);
    expect(outcome.stderr).toMatch(/--nodes is 5 and not 4/);
  });
});

describe('a volume that is told to', () => {
  let volume: TestVolume;
  beforeEach(() => {
    volume = new TestVolume({ nodes: 3 });
  });
  afterEach((context) => volume.destroy(context));

  test('restart its processes brings back a node and a mount that were killed', async () => {
    volume.up('--restart');
    writeFileSync(volume.path('file'), 'x');
    execFileSync('sync', ['-f', volume.mountPoint]);
    const before = volume.status();
    killProcess(before.nodes[0]?.pid);
    killProcess(before.mounts[0]?.pid);
    await expect.poll(() => volume.status().health, PATIENT).toBe('healthy');
    const after = volume.status();
    expect(after.nodes[0]?.pid).not.toBe(before.nodes[0]?.pid);
    expect(readFileSync(volume.path('file'), 'utf8')).toBe('x');
  });

  test('restart its processes does so also after its supervisor was killed', async () => {
    volume.up('--restart');
    killProcess(volume.status().supervisor.pid);
    expect(volume.status().supervisor.restart).toBe(true);
    const before = volume.nodePid(2);
    killProcess(before);
    const after = () => volume.status().nodes[1];
    await expect.poll(() => after()?.pid, PATIENT).not.toBe(before);
    await expect.poll(() => after()?.state, PATIENT).toBe('up');
    volume.run('down');
    volume.up();
    expect(volume.status().supervisor.restart).toBe(false);
  });

  test('stay in the foreground stops when it is interrupted', async () => {
    const args = ['up', volume.mountPoint, '--dir', volume.state, '--nodes', '3', '--foreground'];
    const foreground = spawn(process.execPath, [tartanCommand, ...args], { stdio: 'ignore' });
    await expect.poll(() => isMounted(volume.mountPoint), PATIENT).toBe(true);
    await expect.poll(() => volume.status().health, PATIENT).toBe('healthy');
    foreground.kill('SIGINT');
    const [code] = await once(foreground, 'exit');
    expect(code).toBe(0);
    expect(isMounted(volume.mountPoint)).toBe(false);
    expect(volume.pids()).toEqual([]);
  });

  test("mount by mount(8)'s helper does, and uses mount(8)'s exit codes", () => {
    volume.up();
    volume.run('down');
    const helper = join(volume.base, 'mount.tartan');
    symlinkSync(tartanCommand, helper);
    const mount = (...args: string[]) => spawnSync(helper, args, { encoding: 'utf8' });
    expect(mount(volume.state, volume.mountPoint, '-o', 'rw,nofail').status).toBe(0);
    expect(isMounted(volume.mountPoint)).toBe(true);
    expect(mount(volume.state).status).toBe(1);
    expect(mount(volume.state, '/proc', '-o', 'rw')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('mount.tartan: /proc is busy'),
    });
  });
});

describe('the front end fuse-native', () => {
  test('serves the same volume', () => {
    const volume = TestVolume.up();
    try {
      writeFileSync(volume.path('file'), 'by the kernel protocol');
      volume.run('down');
      volume.up('--frontend', 'fuse-native');
      expect(readFileSync(volume.path('file'), 'utf8')).toBe('by the kernel protocol');
      writeFileSync(volume.path('other'), 'by libfuse');
      volume.run('down');
      volume.up('--frontend', 'native');
      expect(readFileSync(volume.path('other'), 'utf8')).toBe('by libfuse');
    } finally {
      volume.destroy();
    }
  });
});

describe('wrong use', () => {
  let volume: TestVolume | undefined;
  afterEach(() => {
    volume?.destroy();
    volume = undefined;
  });

  test.each([
    [['frobnicate'], 64],
    [['up', '--nodes', 'many'], 64],
    [['status', '--dir', '/nonexistent/volume'], 78],
    [['node', 'start', 'x'], 64],
    [['explain', '/etc/passwd'], 64],
    [['umount', '/'], 64],
    [['up', '--volume', 'a/b'], 64],
  ])('%j ends with one line and code %i', (args, code) => {
    const { status, stderr } = tartan(...args);
    expect(status).toBe(code);
    expect(
      stderr
        .trim()
        .split('\n')
        .filter((line) => !line.startsWith('(')),
    ).toHaveLength(1);
  });

  test('three nodes with three parity are refused before anything is made', () => {
    volume = new TestVolume({ nodes: 3, parity: 3 });
    const { status, stderr } = volume.try('up', volume.mountPoint, '--nodes', '3', '--parity', '3');
    expect(status).toBe(64);
    expect(stderr).toContain('use --nodes 4 or --parity 2');
    expect(existsSync(volume.state)).toBe(false);
  });

  test('nodes that are too small for the cleaner are refused before anything is made', () => {
    volume = new TestVolume();
    const { status, stderr } = volume.try('up', volume.mountPoint, '--capacity', '20M');
    expect(status).toBe(64);
    expect(stderr).toContain('need 21.0 MiB each');
    expect(existsSync(volume.state)).toBe(false);
  });

  test('a mount directory with files in it is refused', () => {
    volume = new TestVolume();
    mkdirSync(volume.mountPoint);
    writeFileSync(volume.path('precious'), '');
    const { status, stderr } = volume.try('up', volume.mountPoint);
    expect(status).toBe(78);
    expect(stderr).toContain('not empty (precious)');
  });

  test('a busy mount point is refused', () => {
    volume = new TestVolume();
    const { status, stderr } = volume.try('up', '/proc');
    expect(status).toBe(78);
    expect(stderr).toContain('busy');
  });

  test('a file as mount point is refused', () => {
    volume = new TestVolume();
    writeFileSync(volume.mountPoint, '');
    const { status, stderr } = volume.try('up', volume.mountPoint);
    expect(status).toBe(78);
    expect(stderr).toContain('not a directory');
  });

  test('help lists the commands, and only those that exist', () => {
    const { status, stdout } = tartan('--help');
    expect(status).toBe(0);
    for (const name of ['up', 'down', 'status', 'mount', 'umount', 'node', 'explain', 'bench']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'));
    }
    expect(stdout).not.toContain('supervisor');
    expect(tartan('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
