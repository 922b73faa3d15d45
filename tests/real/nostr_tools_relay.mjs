// A nostr-tools client for the tests: argv is the relay's address; one JSON request a line, one JSON answer a line.
// It has one connection of its own, and a pool that authenticates as `secret` only when the relay asks for it.
import './globals.mjs'
import { createInterface } from 'node:readline'
import { finalizeEvent } from 'nostr-tools/pure'
import * as nip59 from 'nostr-tools/nip59'
import { Relay } from 'nostr-tools/relay'
import { SimplePool } from 'nostr-tools/pool'

const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))
const url = process.argv[2]
const relay = await Relay.connect(url)
const pool = new SimplePool()
const signer = secret => async template => finalizeEvent(template, bytes(secret))
const heard = [] // ids of live events, of the pool's subscription, and the reason of its end

const operations = {
  auth: async ({ secret }) => relay.auth(signer(secret)),
  sign: ({ event, secret }) => finalizeEvent(event, bytes(secret)),
  wrap: ({ event, secret, recipient }) => nip59.wrapEvent(event, bytes(secret), recipient),
  publish: async ({ event }) => relay.publish(event),
  fetch: ({ filter }) =>
    new Promise((resolve, reject) => {
      const events = []
      const subscription = relay.subscribe([filter], {
        onevent: event => events.push(event.id),
        oneose: () => { resolve(events); subscription.close() },
        onclose: reason => reject(new Error(reason)),
      })
    }),
  pool_query: async ({ filter, secret }) => {
    const events = await pool.querySync([url], filter, { onauth: signer(secret), maxWait: 3000 })
    return events.map(event => event.id)
  },
  pool_publish: async ({ event, secret }) => Promise.all(pool.publish([url], event, { onauth: signer(secret) })),
  pool_listen: ({ filter, secret }) =>
    new Promise(resolve => {
      const onclose = reasons => { heard.push(reasons[0].reason); resolve() }
      const onevent = event => heard.push(event.id)
      pool.subscribeMany([url], filter, { onauth: signer(secret), onevent, oneose: resolve, onclose })
    }),
  heard: async ({ number }) => {
    for (let turns = 0; heard.length < number && turns < 500; turns++) await new Promise(done => setTimeout(done, 10))
    return heard
  },
  count: async ({ filter }) => relay.count([filter], {}),
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = { result: (await operations[request.operation](request)) ?? null }
  } catch (error) {
    answer = { error: String(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
relay.close()
pool.destroy()
process.exit() // the pool's timers would keep the process for seconds
