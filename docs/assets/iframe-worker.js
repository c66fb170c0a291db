// Browsers run no worker for pages that are opened from a folder; there the search runs in an iframe.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      this.ready = new Promise((resolve) => { this.loaded = resolve; });
      inside.document.open();
      inside.document.write("<body><script>postMessage = parent.postMessage.bind(parent)</" + "script></body>");
      inside.document.close();
      const script = inside.document.createElement("script");
      script.src = new URL(url, location.href);
      script.onload = this.loaded;
      inside.document.body.append(script);
      this.hear = (event) => {
        if (event.source !== inside) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        this.onmessage?.(copy);
      };
      window.addEventListener("message", this.hear);
    }

    postMessage(data) {
      this.ready.then(() => {
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
      });
    }

    terminate() {
      window.removeEventListener("message", this.hear);
      this.frame.remove();
    }
  };
}
