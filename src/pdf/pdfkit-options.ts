/** Options that pdfkit 0.20 takes and its types do not name yet. */

declare global {
  namespace PDFKit.Mixins {
    interface StructureElementOptions {
      /** What a TH is the header of. */
      scope?: 'Row' | 'Column';
      /** Of a Figure: left, top, right, bottom. */
      bbox?: [number, number, number, number];
    }
    interface PDFAttachmentOptions {
      /** AFRelationship of an associated file (ISO 19005-3, 6.8). */
      relationship?: 'Source' | 'Data';
    }
    interface PDFAnnotation {
      /** A link inside the document. pdfkit writes String objects as strings and primitive ones as names. */
      goTo(x: number, y: number, width: number, height: number, name: string, options: LinkOptions): this;
    }
    interface LinkOptions {
      structParent: PDFKit.PDFStructureElement;
      /** What assistive technology reads. */
      Contents: object;
    }
  }
}

/** Makes this file a module, so that what it declares is added to pdfkit's types. */
export {};
