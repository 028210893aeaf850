// The camera of the user, as frames.

const SIDE = 1280;
const QUALITY = 0.85;

export class Camera {
  /** @param {HTMLVideoElement} video shows nothing; frames are taken from it. */
  constructor(video) {
    this.video = video;
    this.stream = null;
    this.facing = "environment";
  }

  get on() {
    return this.stream !== null;
  }

  /** Why this page cannot have a camera; "" if it can. Browsers give one to safe pages only. */
  static missing() {
    if (navigator.mediaDevices?.getUserMedia) return "";
    return window.isSecureContext
      ? "This browser gives pages no camera."
      : "Browsers give a camera only to pages from https or from this machine.";
  }

  /** Ask for the camera; throws words for people. */
  async start() {
    const missing = Camera.missing();
    if (missing) throw new Error(missing);
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { facingMode: this.facing, width: { ideal: SIDE } },
      });
    } catch (error) {
      const words = {
        NotAllowedError: "The camera was not allowed: change that in the browser's settings.",
        NotFoundError: "There is no camera.",
      };
      throw new Error(words[error.name] ?? "The camera cannot be used: does another program use it?");
    }
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.stream = null;
  }

  /** The camera on the other side of a phone. */
  async turn() {
    this.stop();
    this.facing = this.facing === "environment" ? "user" : "environment";
    await this.start();
  }

  /** Whether there may be another one. */
  static async several() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((one) => one.kind === "videoinput").length > 1;
  }

  /**
   * What the camera sees now.
   * @returns {Promise<{name: string, blob: Blob, bitmap: ImageBitmap, width: number, height: number}>}
   */
  async frame() {
    const { videoWidth, videoHeight } = this.video;
    const share = Math.min(1, SIDE / Math.max(videoWidth, videoHeight));
    const width = Math.max(1, Math.round(videoWidth * share));
    const height = Math.max(1, Math.round(videoHeight * share));
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(this.video, 0, 0, width, height);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return { name: "camera.jpg", blob, bitmap: canvas.transferToImageBitmap(), width, height };
  }
}
