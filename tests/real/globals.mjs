// What the foreign clients expect of their platform and older releases of node do not have; import it first.
import { webcrypto } from 'node:crypto'
import WebSocket from 'ws'

globalThis.crypto ??= webcrypto
globalThis.WebSocket ??= WebSocket
