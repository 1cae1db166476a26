/**
 * A bank whose money is files: a coin lies in the directory of the account that owns it, and payments move coins by rename, by an
 * exchange of two coins, or by a second link and the removal of the first.
 *
 * Whatever crash happens: no coin is lost, none is there twice but one on its way (then with two links), its contents are its number,
 * and it lies where some payment since the last sync put it.
 */
import { RENAME_EXCHANGE } from '../../filesystem/file-system.ts';
import type { Dice, Workload, WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { caller, readBytes, type Session } from './session.ts';

export interface BankOptions {
  readonly accounts?: number;
  readonly coins?: number;
  readonly tellers?: number;
}

/** A name in an account's directory. Coins that are exchanged take each other's names. */
interface Place {
  readonly account: number;
  readonly name: string;
}

interface Coin {
  readonly number: number;
  inode: number;
  place: Place;
  /** Where it may lie after a crash: the places since the last sync, the present one among them. */
  possible: Set<string>;
  /** A payment failed or was cut off: where the coin lies is to be looked up. */
  isUnknown: boolean;
}

/** The places of each inode that was found. */
type Seen = ReadonlyMap<number, readonly Place[]>;

export class BankWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<BankOptions>;
  readonly #coins: Coin[];
  /** Of the mount with this generation. */
  #accounts: number[] = [];
  #generation = 0;
  #inspection: { readonly generation: number; readonly done: Promise<void> } | undefined;
  #isOpen = false;

  constructor(name = 'bank', options: BankOptions = {}) {
    this.name = name;
    this.#options = { accounts: 5, coins: 24, tellers: 2, ...options };
    this.#coins = Array.from({ length: this.#options.coins }, (_, number) => {
      const place = { account: number % this.#options.accounts, name: `coin-${number}` };
      return { number, inode: 0, place, possible: new Set([key(place)]), isUnknown: false };
    });
  }

  async run(context: WorkloadContext): Promise<void> {
    const { tellers } = this.#options;
    if (!this.#isOpen) await repeat(context, this.name, (session) => this.#establish(session));
    if (!this.#isOpen) return;
    // Coins have one teller each; directories are shared.
    const teller = (index: number) => {
      const dice = context.dice.fork(`teller-${index}`);
      const own = this.#coins.filter(({ number }) => number % tellers === index);
      return repeat(context, `${this.name}-${index}`, async (session) => {
        await this.#inspectAfterLoss(session);
        await this.#pay(session, dice, own);
        await pause(context, dice);
        return undefined;
      });
    };
    await Promise.all(Array.from({ length: tellers }, (_, index) => teller(index)));
  }

  async check(context: WorkloadContext): Promise<void> {
    if (!this.#isOpen) return;
    await finish(context, this.name, async (session) => {
      await session.insist('syncAll', {}, (one) => one.syncAll());
      await this.#inspectAfterLoss(session);
      for (const coin of this.#coins) if (!coin.isUnknown) coin.possible = new Set([key(coin.place)]);
      await this.#inspect(session, this.#accounts);
      for (const coin of this.#coins) await this.#verifyContents(session, coin);
    });
  }

  /** Accounts and coins, all of them durable before the first payment. May be begun again. */
  async #establish(session: Session): Promise<boolean> {
    const root = await session.directory(this.name);
    const accounts: number[] = [];
    for (let account = 0; account < this.#options.accounts; account++) {
      const name = `account-${account}`;
      if ((await session.lookup(root, name)) === undefined)
        await session.call('makeDirectory', { name }, async (one) => {
          const made = await one.makeDirectory(root, name, 0o755, caller);
          one.forget(made.inode, 1);
        });
      accounts.push((await session.lookup(root, name))!.inode);
    }
    for (const coin of this.#coins) await this.#mint(session, accounts[coin.place.account]!, coin);
    await session.insist('syncAll', {}, (one) => one.syncAll());
    this.#accounts = accounts;
    this.#generation = session.mount.generation;
    this.#isOpen = true;
    return true;
  }

  async #mint(session: Session, directory: number, coin: Coin): Promise<void> {
    const { name } = coin.place;
    const found = await session.lookup(directory, name);
    coin.inode =
      found?.inode ??
      (await session.call('create', { name }, async (one) => {
        const { attributes, handle } = await one.create(directory, name, 0o600, 2, caller);
        await one.release(attributes.inode, handle);
        one.forget(attributes.inode, 1);
        return attributes.inode;
      }));
    const { inode } = coin;
    await session.call('write', { name }, (one) => one.write(inode, 0, 0, [stamp(coin)], false));
    await session.call('fsync', { name }, (one) => one.fsync(inode, 0, false));
  }

  /** After a loss of the mount all tellers wait until one of them has looked at every coin. */
  async #inspectAfterLoss(session: Session): Promise<void> {
    const { generation } = session.mount;
    if (this.#generation === generation) return;
    if (this.#inspection?.generation !== generation)
      this.#inspection = { generation, done: this.#inspectAll(session) };
    await this.#inspection.done;
  }

  async #inspectAll(session: Session): Promise<void> {
    const root = await session.directory(this.name);
    const accounts: number[] = [];
    for (let account = 0; account < this.#options.accounts; account++) {
      const found = await session.lookup(root, `account-${account}`);
      if (found === undefined) session.fail(`account-${account} is gone`);
      accounts.push(found.inode);
    }
    await this.#inspect(session, accounts);
    this.#accounts = accounts;
    this.#generation = session.mount.generation;
  }

  async #inspect(session: Session, accounts: readonly number[]): Promise<void> {
    const seen = await this.#look(session, accounts);
    for (const coin of this.#coins) {
      const places = this.#placesOf(session, coin, seen);
      // What a mount shows after its recovery stays, but taking a payment back is as undurable as making it.
      coin.possible = new Set(places.map(key));
      await this.#repair(session, accounts, coin, places);
    }
    if (seen.size !== this.#coins.length)
      session.fail(`${seen.size} different coins, expected ${this.#coins.length}`);
  }

  async #look(session: Session, accounts: readonly number[]): Promise<Seen> {
    const seen = new Map<number, Place[]>();
    for (const [account, directory] of accounts.entries()) {
      const entries = await session.insist('readDirectory', { account }, async (one) => {
        const found: { name: string; inode: number }[] = [];
        await one.readDirectory(directory, 0, 0n, false, ({ name, inode }) => {
          if (name !== '.' && name !== '..') found.push({ name, inode });
          return true;
        });
        return found;
      });
      for (const { name, inode } of entries) {
        const known = seen.get(inode);
        if (known === undefined) seen.set(inode, [{ account, name }]);
        else known.push({ account, name });
      }
    }
    return seen;
  }

  #placesOf(session: Session, coin: Coin, seen: Seen): readonly Place[] {
    const places = seen.get(coin.inode);
    const expected = [...coin.possible].join(' or ');
    if (places === undefined) session.fail(`coin ${coin.number} is lost, expected at ${expected}`);
    if (places.length > 2 || places.some((place) => !coin.possible.has(key(place))))
      session.fail(`coin ${coin.number} is at ${places.map(key).join(' and ')}, expected at ${expected}`);
    return places;
  }

  /** A payment that was cut off in the middle is taken back. */
  async #repair(
    session: Session,
    accounts: readonly number[],
    coin: Coin,
    places: readonly Place[],
  ): Promise<void> {
    const { number, inode } = coin;
    const { linkCount } = await session.insist('getAttributes', { number }, (one) =>
      one.getAttributes(inode),
    );
    if (linkCount !== places.length)
      session.fail(`coin ${number} has ${linkCount} links, but is at ${places.map(key).join(' and ')}`);
    coin.isUnknown = true;
    const [first, second] = places;
    if (second !== undefined)
      await session.call('unlink', { ...second }, (one) =>
        one.unlink(accounts[second.account]!, second.name, caller),
      );
    coin.place = first!;
    coin.isUnknown = false;
  }

  async #pay(session: Session, dice: Dice, own: readonly Coin[]): Promise<void> {
    const coin = dice.pick(own);
    if (coin.isUnknown) {
      const seen = await this.#look(session, this.#accounts);
      await this.#repair(session, this.#accounts, coin, this.#placesOf(session, coin, seen));
      return;
    }
    const to = dice.below(this.#options.accounts);
    const choice = dice.unit();
    if (choice < 0.15) await this.#sync(session, own);
    else if (choice < 0.25) await this.#verifyContents(session, coin);
    else if (choice < 0.45) await this.#exchange(session, coin, dice.pick(own));
    else if (to !== coin.place.account) await this.#move(session, coin, to, choice < 0.7);
  }

  async #sync(session: Session, own: readonly Coin[]): Promise<void> {
    await session.call('fsyncDirectory', {}, (one) => one.fsyncDirectory(this.#accounts[0]!, 0));
    for (const coin of own) if (!coin.isUnknown) coin.possible = new Set([key(coin.place)]);
  }

  async #move(session: Session, coin: Coin, to: number, byRename: boolean): Promise<void> {
    const { inode, place } = coin;
    const { name } = place;
    const [source, target] = [this.#accounts[place.account]!, this.#accounts[to]!];
    const next = { account: to, name };
    coin.possible.add(key(next));
    coin.isUnknown = true;
    const fields = { ...place, to };
    if (byRename)
      await session.call('rename', fields, (one) => one.rename(source, name, target, name, 0, caller));
    else {
      await session.call('link', fields, async (one) => {
        await one.link(inode, target, name, caller);
        one.forget(inode, 1);
      });
      await session.call('unlink', fields, (one) => one.unlink(source, name, caller));
    }
    coin.place = next;
    coin.isUnknown = false;
  }

  async #exchange(session: Session, coin: Coin, other: Coin): Promise<void> {
    if (other === coin || other.isUnknown) return;
    const [place, otherPlace] = [coin.place, other.place];
    coin.possible.add(key(otherPlace));
    other.possible.add(key(place));
    coin.isUnknown = other.isUnknown = true;
    const [from, to] = [this.#accounts[place.account]!, this.#accounts[otherPlace.account]!];
    await session.call('exchange', { ...place, with: key(otherPlace) }, (one) =>
      one.rename(from, place.name, to, otherPlace.name, RENAME_EXCHANGE, caller),
    );
    coin.place = otherPlace;
    other.place = place;
    coin.isUnknown = other.isUnknown = false;
  }

  async #verifyContents(session: Session, coin: Coin): Promise<void> {
    const expected = stamp(coin);
    const found = await session.call('read', { ...coin.place }, (one) =>
      readBytes(one, coin.inode, 0, 0, 2 * expected.length),
    );
    if (!found.equals(expected))
      session.fail(`coin ${coin.number} holds ${found.toString('latin1').slice(0, 60)}`);
  }
}

function key({ account, name }: Place): string {
  return `${account}/${name}`;
}

function stamp(coin: Coin): Buffer {
  return Buffer.from(`coin ${coin.number} `.repeat(20));
}
