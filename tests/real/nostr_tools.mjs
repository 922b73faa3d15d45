// Lets the tests ask nostr-tools: one JSON request a line on stdin, one JSON answer a line on stdout.
import './globals.mjs'
import { createInterface } from 'node:readline'
import { finalizeEvent, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import * as nip13 from 'nostr-tools/nip13'
import * as nip19 from 'nostr-tools/nip19'
import * as nip44 from 'nostr-tools/nip44'
import * as nip59 from 'nostr-tools/nip59'
import * as nip98 from 'nostr-tools/nip98'

const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = data => Buffer.from(data).toString('hex')

const operations = {
  pubkey: ({ secret }) => getPublicKey(bytes(secret)),
  sign: ({ event, secret }) => finalizeEvent(event, bytes(secret)),
  // The library remembers what it verified in a symbol of the object; a fresh copy has none.
  verify: ({ event }) => verifyEvent(JSON.parse(JSON.stringify(event))),
  conversation_key: ({ secret, pubkey }) => hex(nip44.getConversationKey(bytes(secret), pubkey)),
  encrypt: ({ text, key }) => nip44.encrypt(text, bytes(key)),
  decrypt: ({ payload, key }) => nip44.decrypt(payload, bytes(key)),
  wrap: ({ event, secret, recipient }) => nip59.wrapEvent(event, bytes(secret), recipient),
  unwrap: ({ event, secret }) => nip59.unwrapEvent(event, bytes(secret)),
  npub: ({ pubkey }) => nip19.npubEncode(pubkey),
  nsec: ({ secret }) => nip19.nsecEncode(bytes(secret)),
  difficulty: ({ id }) => nip13.getPow(id),
  http_token: ({ url, method, payload, secret }) =>
    nip98.getToken(url, method, event => finalizeEvent(event, bytes(secret)), true, payload),
  http_check: async ({ header, url, method, payload }) =>
    nip98.validateEvent(await nip98.unpackEventFromToken(header), url, method, payload).catch(String),
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = { result: await operations[request.operation](request) }
  } catch (error) {
    answer = { error: String(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
