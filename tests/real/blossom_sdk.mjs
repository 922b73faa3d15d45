// The npm client blossom-client-sdk against one server: node blossom_sdk.mjs ACTION SERVER SECRET ARGUMENT
// Prints one JSON object: what the client gave, or {"error": …}.
import "./globals.mjs";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as actions from "blossom-client-sdk/actions/index";
import * as auth from "blossom-client-sdk/auth";
import { finalizeEvent, getPublicKey } from "nostr-tools/pure";
import { hexToBytes } from "nostr-tools/utils";

const [action, server, secret, argument] = process.argv.slice(2);
const key = hexToBytes(secret);
const signer = async (draft) => finalizeEvent(draft, key);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const run = {
  upload: () =>
    actions.uploadBlob(server, new Blob([readFileSync(argument)], { type: "application/zip" }), {
      onAuth: (where, hash) => auth.createUploadAuth(signer, hash, { servers: where }),
    }),
  download: async () => {
    const response = await actions.downloadBlob(server, argument, {
      onAuth: (where, hash) => auth.createDownloadAuth(signer, hash, { servers: where }),
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    return { size: bytes.length, sha256: sha256(bytes), type: response.headers.get("content-type") };
  },
  has: async () => ({ has: await actions.hasBlob(server, argument) }),
  list: async () => ({
    blobs: await actions.listBlobs(server, getPublicKey(key), {
      onAuth: (where) => auth.createListAuth(signer, { servers: where }),
    }),
  }),
  mirror: () =>
    actions.mirrorBlob(server, JSON.parse(argument), {
      onAuth: (where, hash) => auth.createUploadAuth(signer, hash, { servers: where }),
    }),
  delete: async () => ({
    deleted: await actions.deleteBlob(server, argument, {
      onAuth: (where, hash) => auth.createDeleteAuth(signer, hash, { servers: where }),
    }),
  }),
};

try {
  console.log(JSON.stringify(await run[action]()));
} catch (error) {
  console.log(JSON.stringify({ error: String(error.message ?? error), status: error.status ?? null }));
}
