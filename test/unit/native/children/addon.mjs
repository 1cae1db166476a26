/** The raw addon, for processes and threads that a test starts: they run without the tests' compiler. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const path = new URL('../../../../native-bindings/build/Release/tartan.node', import.meta.url);
export const addon = createRequire(import.meta.url)(fileURLToPath(path));
