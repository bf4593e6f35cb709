/** Drawing in space with three.js. */
import {
  AmbientLight, Box3, CanvasTexture, Color, DirectionalLight, DoubleSide, Group, HemisphereLight, Mesh, MeshStandardMaterial, NoColorSpace,
  PerspectiveCamera, PMREMGenerator, RepeatWrapping, Scene, SphereGeometry, SRGBColorSpace, Vector2, Vector3, WebGLRenderer, ACESFilmicToneMapping,
  type BufferGeometry, type Object3D, type Texture,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { OBJLoader } from "three/addons/loaders/OBJLoader.js";
import { PLYLoader } from "three/addons/loaders/PLYLoader.js";
import { STLLoader } from "three/addons/loaders/STLLoader.js";
import type { WireBlob } from "../../../plugins/photoshop/client/blobs";
import { drawn, toImageData } from "./pixels";
import type { What } from "./Scene";

const SLOWLY = 1.2;

export class Viewer {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(35, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private readonly observer: ResizeObserver;
  private changed = true;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.toneMapping = ACESFilmicToneMapping;
    const room = new PMREMGenerator(this.renderer);
    this.scene.environment = room.fromScene(new RoomEnvironment(), 0.04).texture;
    this.scene.environmentIntensity = 0.45;
    room.dispose();
    const sun = new DirectionalLight(new Color("#fff2dd"), 2.2);
    sun.position.set(2, 3, 2.5);
    this.scene.add(sun, new HemisphereLight("#dfe9f2", "#6b6258", 0.5), new AmbientLight("#ffffff", 0.15));
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.autoRotate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.controls.autoRotateSpeed = SLOWLY;
    this.controls.addEventListener("start", () => (this.controls.autoRotate = false));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas.parentElement!);
    this.resize();
    this.renderer.setAnimationLoop(() => {
      // What stands still is not drawn again: it would only warm the machine that paints.
      if (this.controls.update() || this.changed) this.renderer.render(this.scene, this.camera);
      this.changed = false;
    });
  }

  async show(what: What): Promise<void> {
    const object = "mesh" in what ? await loaded(what.mesh) : sphere(what.maps, this.renderer.capabilities.getMaxAnisotropy());
    this.scene.add(object);
    this.frame(object);
  }

  /** Turn by angles in radians, around the upright axis and up or down. */
  turn(around: number, over: number): void {
    this.controls.autoRotate = false;
    const offset = this.camera.position.clone().sub(this.controls.target);
    offset.applyAxisAngle(new Vector3(0, 1, 0), around);
    const side = new Vector3().crossVectors(offset, this.camera.up).normalize();
    const turned = offset.clone().applyAxisAngle(side, over);
    if (Math.abs(turned.clone().normalize().y) < 0.97) offset.copy(turned);
    this.camera.position.copy(this.controls.target).add(offset);
  }

  dispose(): void {
    this.renderer.setAnimationLoop(null);
    this.observer.disconnect();
    this.controls.dispose();
    this.renderer.dispose();
  }

  private frame(object: Object3D): void {
    const box = new Box3().setFromObject(object);
    const size = Math.max(...box.getSize(new Vector3()).toArray()) || 1;
    const centre = box.getCenter(new Vector3());
    object.position.sub(centre);
    this.camera.near = size / 100;
    this.camera.far = size * 100;
    this.camera.position.set(0.45, 0.35, 1.9).multiplyScalar(size);
    this.camera.updateProjectionMatrix();
    this.controls.minDistance = size / 4;
    this.controls.maxDistance = size * 8;
    this.controls.update();
    this.changed = true;
  }

  private resize(): void {
    const { width, height } = this.canvas.getBoundingClientRect();
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / Math.max(1, height);
    this.camera.updateProjectionMatrix();
    this.changed = true;
  }
}

/** A mesh of one of the formats that the server writes, known by its first bytes. */
async function loaded(data: Uint8Array): Promise<Object3D> {
  const bytes = data.slice().buffer;
  const head = new TextDecoder("latin1").decode(data.subarray(0, 80));
  if (head.startsWith("glTF")) return (await new GLTFLoader().parseAsync(bytes, "")).scene;
  if (head.startsWith("{")) return (await new GLTFLoader().parseAsync(new TextDecoder().decode(data), "")).scene;
  if (head.startsWith("ply")) return grey(new PLYLoader().parse(bytes));
  if (head.startsWith("PK")) throw new Error("browsers do not show USDZ files");
  if (data.length >= 84 && data.length === 84 + 50 * new DataView(bytes).getUint32(80, true)) return grey(new STLLoader().parse(bytes));
  return new OBJLoader().parse(new TextDecoder().decode(data));
}

function grey(geometry: BufferGeometry): Mesh {
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  const vertexColors = geometry.hasAttribute("color");
  return new Mesh(geometry, new MeshStandardMaterial({ color: vertexColors ? "#ffffff" : "#b9b4aa", roughness: 0.8, side: DoubleSide, vertexColors }));
}

function sphere(maps: Map<string, WireBlob>, anisotropy: number): Object3D {
  const texture = (name: string): Texture | null => {
    const blob = maps.get(name);
    if (blob === undefined) return null;
    const made = new CanvasTexture(drawn(toImageData(blob.data, blob.ref.shape, blob.ref.dtype, name === "albedo" ? blob.ref.color : "data")));
    made.wrapS = made.wrapT = RepeatWrapping;
    made.repeat.set(3, 1.5);
    made.colorSpace = name === "albedo" ? SRGBColorSpace : NoColorSpace;
    made.anisotropy = anisotropy;
    return made;
  };
  const material = new MeshStandardMaterial({
    map: texture("albedo"),
    normalMap: texture("normal"),
    normalScale: new Vector2(1, 1),
    roughnessMap: texture("roughness"),
    roughness: maps.has("roughness") ? 1 : 0.7,
    metalnessMap: texture("metallic"),
    metalness: maps.has("metallic") ? 1 : 0,
    aoMap: texture("ambient_occlusion"),
    displacementMap: texture("height"),
    displacementScale: maps.has("height") ? 0.03 : 0,
  });
  return new Group().add(new Mesh(new SphereGeometry(0.5, 160, 96), material));
}
