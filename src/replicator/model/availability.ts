/**
 * The availability of stripe groups and of a volume made of them. Pure. Everything is carried as unavailability, 1 - A: near A = 1 that
 * is the number that has digits.
 *
 * A group that tolerates m failures is unavailable while more than m of its nodes are down; a volume is unavailable while any of its
 * groups is. For equal nodes that is the closed form G and A = (1 - G)^q; with one data fragment in m + 1 copies its first term is the
 * A = 1 - q p^copies of Vélez, "Single System Abstractions for Clusters of Workstations", 2000, section 8.
 */
import { assert } from '../../base/assert.ts';
import { anyDown, byDomain, type DomainUnavailability, failureTail, type GroupMember } from './failures.ts';

/** Nodes of which each segment uses `width`, in every combination that keeps its fragments on different domains. */
export interface Group {
  readonly members: readonly GroupMember[];
  /** Fragments of a segment, at most as many as there are members. */
  readonly width: number;
  /** Parity fragments of a segment: failures that it bears. */
  readonly parityFragments: number;
}

export interface GroupAvailability {
  /** P(some segment of the group cannot be read in full), 0..1. */
  readonly unavailability: number;
  /** Expected share of the group's data that cannot be read, 0..1, averaged over time. */
  readonly unavailableFraction: number;
}

/**
 * Exact where each segment uses all members (width = members). A wider group is counted as if every combination of members held a
 * segment: exact when that is so, and otherwise an upper bound, since a segment dies only if more than m members are down.
 *
 * While a group has at least `width` domains, no segment has two fragments on one. Then what counts is the number of domains
 * with a node down; with fewer domains it is the number of nodes.
 */
export function groupAvailability(group: Group, domains?: DomainUnavailability): GroupAvailability {
  const { width, parityFragments } = group;
  assert(width >= 1 && width <= group.members.length, `width ${width} of ${group.members.length} nodes`);
  assert(parityFragments >= 0 && parityFragments < width, `parity ${parityFragments} of ${width} fragments`);
  const spread = byDomain(group.members);
  const units =
    spread.size >= width && spread.size < group.members.length
      ? [...spread].map(([domain, unavailabilities]) => ({
          domain,
          unavailability: anyDown(unavailabilities, domains?.get(domain) ?? 0),
        }))
      : group.members;
  const tail = failureTail(units, parityFragments, units === group.members ? domains : undefined);
  // Fragments rotate: while j units are down, j / units of the data fragments are not there, and with j > m nothing replaces them.
  return { unavailability: tail.probability, unavailableFraction: tail.meanDown / units.length };
}

/**
 * P(any of the groups is unavailable). Exact for groups that share neither nodes nor domains; an upper bound where they do, because such
 * groups fail together rather than one by one (T. E. Harris, "A lower bound for the critical probability", 1960).
 */
export function anyUnavailable(groupUnavailabilities: Iterable<number>): number {
  let logAllUp = 0;
  for (const unavailability of groupUnavailabilities) logAllUp += Math.log1p(-unavailability);
  return Math.abs(Math.expm1(logAllUp));
}

/** G = sum over j > m of C(n, j) p^j (1 - p)^(n - j): a group of `nodes` equal nodes, each down for the share `p` of the time. */
export function equalGroupUnavailability(nodes: number, parityFragments: number, p: number): number {
  assert(parityFragments >= 0 && nodes > parityFragments, `${nodes} nodes with parity ${parityFragments}`);
  assert(p >= 0 && p <= 1, `p ${p}`);
  if (p === 0 || p === 1) return p;
  // From the end where the terms are large, so that none underflows before the sum has begun.
  const first = parityFragments + 1;
  const odds = p / (1 - p);
  let sum = 0;
  if (p < 0.5) {
    let term = firstTerm(nodes, first, p) * Math.exp((nodes - first) * Math.log1p(-p));
    for (let down = first; down <= nodes; down++) {
      sum += term;
      term *= ((nodes - down) / (down + 1)) * odds;
    }
  } else {
    let term = p ** nodes;
    for (let down = nodes; down >= first; down--) {
      sum += term;
      term *= down / (nodes - down + 1) / odds;
    }
  }
  return Math.min(1, sum);
}

/** 1 - A = 1 - (1 - G)^q for `groups` groups of equal nodes. */
export function equalVolumeUnavailability(
  nodes: number,
  parityFragments: number,
  p: number,
  groups: number,
): number {
  return -Math.expm1(groups * Math.log1p(-equalGroupUnavailability(nodes, parityFragments, p)));
}

/** 1 - A to first order in small p: q C(n, m + 1) p^(m + 1). Above the exact value, and above 1 where p is not small. */
export function linearVolumeUnavailability(
  nodes: number,
  parityFragments: number,
  p: number,
  groups: number,
): number {
  assert(parityFragments >= 0 && nodes > parityFragments, `${nodes} nodes with parity ${parityFragments}`);
  return groups * firstTerm(nodes, parityFragments + 1, p);
}

/**
 * How many times larger a volume may grow, by more groups of the same width, until it needs one parity fragment more again: from the size at
 * which m parity fragments just meet a target to that at which m + 1 do, k being the same. (m + 2) / (n p) with n = k + m, to
 * first order in small p: sizes at which replication is due are spaced geometrically.
 */
export function growthUntilNextParity(nodes: number, parityFragments: number, p: number): number {
  return (parityFragments + 2) / (nodes * p);
}

/** C(n, j) p^j, factor by factor so that neither part overflows or underflows alone. */
function firstTerm(nodes: number, down: number, p: number): number {
  let term = 1;
  for (let index = 0; index < down; index++) term *= ((nodes - index) / (index + 1)) * p;
  return term;
}
