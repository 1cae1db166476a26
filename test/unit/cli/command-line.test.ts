import { CommanderError } from 'commander';
import { describe, expect, test, vi } from 'vitest';
import { parseHelperArguments } from '../../../src/cli/commands/mount-helper.ts';
import { parseMountOptions } from '../../../src/cli/commands/mount-options.ts';
import { CommandFailure } from '../../../src/cli/failure.ts';
import { parseReports } from '../../../src/cli/process/startup-report.ts';
import { buildProgram } from '../../../src/cli/program.ts';
import { formatMarkdownTable, formatTable } from '../../../src/cli/terminal/table.ts';
import { containingMount } from '../../../src/cli/volume/containing-mount.ts';

describe('wrong use', () => {
  test.each([
    [['up', '--what'], "tartan: unknown option '--what'\n(tartan up --help says what it takes)\n"],
    [
      ['node', 'stop'],
      "tartan: missing required argument 'id'\n(tartan node stop --help says what it takes)\n",
    ],
    [['unmake'], "tartan: unknown command 'unmake'\n(tartan --help lists the commands)\n"],
  ])('%j is told like any other failure, with what to ask next', async (argv, message) => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      await expect(buildProgram().parseAsync(argv, { from: 'user' })).rejects.toBeInstanceOf(CommanderError);
      expect(said.mock.calls.map(([text]) => text).join('')).toBe(message);
    } finally {
      said.mockRestore();
    }
  });
});

describe('mount options', () => {
  test('that every fstab line may have are passed over', () => {
    expect(parseMountOptions('defaults,rw,_netdev,nofail,x-systemd.automount')).toEqual({
      readOnly: false,
      frontend: undefined,
    });
  });

  test('that are ours take effect', () => {
    expect(parseMountOptions('ro,frontend=fuse-native')).toEqual({ readOnly: true, frontend: 'fuse-native' });
  });

  test.each(['noatime,compress', 'frontend=none'])('%s is refused', (text) => {
    expect(() => parseMountOptions(text)).toThrow(CommandFailure);
  });
});

describe("mount(8)'s helper", () => {
  test('takes what mount(8) passes', () => {
    expect(parseHelperArguments(['spec', '/mnt', '-sv', '-o', 'ro', '-t', 'tartan'])).toEqual({
      spec: 'spec',
      mountPoint: '/mnt',
      options: 'ro',
      fake: false,
      verbose: true,
    });
  });

  test.each([[['spec']], [['spec', '/mnt', 'more']], [['spec', '/mnt', '--what']]])('refuses %j', (args) => {
    expect(parseHelperArguments(args)).toBeUndefined();
  });
});

describe('a path', () => {
  const table = [
    { device: '1:1', mountPoint: '/', type: 'ext4', source: 'disk' },
    { device: '1:2', mountPoint: '/mnt/a', type: 'fuse.tartan', source: 'a' },
    { device: '1:3', mountPoint: '/mnt/a', type: 'fuse.tartan', source: 'b' },
  ];
  test('lies in the innermost and uppermost mount', () => {
    expect(containingMount('/mnt/a/file', table)?.source).toBe('b');
    expect(containingMount('/mnt/a', table)?.source).toBe('b');
  });
  test('does not lie in a mount whose name only begins alike', () => {
    expect(containingMount('/mnt/abc', table)?.source).toBe('disk');
  });
});

describe('reports of a starting process', () => {
  test('are taken line by line, and a cut line waits for its rest', () => {
    const { reports, rest } = parseReports('{"kind":"ready"}\n{"kind":"ph');
    expect(reports).toEqual([{ kind: 'ready' }]);
    expect(rest).toBe('{"kind":"ph');
  });
});

describe('a table', () => {
  const columns = [{ title: 'A' }, { title: 'B', align: 'right' }] as const;
  test('has columns as wide as their widest cell', () => {
    expect(
      formatTable(columns, [
        ['long', '1'],
        ['x', '22'],
      ]),
    ).toBe('A      B\nlong   1\nx     22');
  });
  test('is also Markdown', () => {
    expect(formatMarkdownTable(columns, [['x', '1']])).toBe('| A | B |\n| --- | ---: |\n| x | 1 |');
  });
});
