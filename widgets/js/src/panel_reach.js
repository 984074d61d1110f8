// Whether the kernel can be reached: while it cannot, what needs it is disabled, and its title says why.

export class Reach {
  constructor(root) {
    this.root = root;
    this.why = ""; // empty while the kernel can be reached
    this.needy = new Map(); // element: whether it may be used otherwise, and its own title
  }

  // From now on this element can only be used while the kernel can be reached.
  needs(element) {
    this.needy.set(element, { may: true, title: element.title });
    this._settle(element);
    return element;
  }

  // Whether it may be used while the kernel can be reached.
  allow(element, may) {
    this.needy.get(element).may = may;
    this._settle(element);
  }

  // The kernel is out of reach for this reason, or, where there is none, within reach again.
  set(why) {
    this.why = why;
    for (const element of [...this.needy.keys()]) {
      if (this.root.contains(element)) this._settle(element);
      else this.needy.delete(element); // something else was painted in its place
    }
  }

  _settle(element) {
    const { may, title } = this.needy.get(element);
    element.disabled = Boolean(this.why) || !may;
    element.title = this.why || title;
  }
}
