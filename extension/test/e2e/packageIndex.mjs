/** A package index for pip: it serves a folder of wheels, does not answer, or does not run. */
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

export class PackageIndex {
  /** Requests since the last start. */
  requests = 0;
  #server;
  #port = 0;

  constructor(folder) {
    this.folder = folder;
  }

  /** pip's settings: only this index, and one retry. */
  get variables() {
    const unset = { PIP_FIND_LINKS: '', PIP_EXTRA_INDEX_URL: '', PIP_NO_INDEX: '', PIP_CONFIG_FILE: '/dev/null' };
    return { ...unset, PIP_INDEX_URL: `http://127.0.0.1:${this.#port}/simple`, PIP_RETRIES: '1', NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' };
  }

  /** Uses the same port as at an earlier start. With `silent`, requests get no answer. */
  async start({ silent = false } = {}) {
    await this.stop();
    this.requests = 0;
    this.#server = http.createServer((request, response) => {
      this.requests += 1;
      if (!silent) {
        this.#answer(request.url, response);
      }
    });
    await new Promise((resolve, reject) => this.#server.once('error', reject).listen(this.#port, '127.0.0.1', resolve));
    this.#port = this.#server.address().port;
  }

  async stop() {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
  }

  #answer(url, response) {
    const file = path.join(this.folder, path.basename(url));
    if (url.endsWith('.whl') && fs.existsSync(file)) {
      response.end(fs.readFileSync(file));
      return;
    }
    const links = fs.readdirSync(this.folder).map((name) => `<a href="/${name}">${name}</a>`);
    response.setHeader('Content-Type', 'text/html').end(`<!DOCTYPE html><html><body>${links.join('')}</body></html>`);
  }
}
