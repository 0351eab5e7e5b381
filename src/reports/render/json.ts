/** The report as JSON: the canonical bytes themselves, so that `sha256sum` of the file prints H. */
import { freezeModel, type ReportModel } from '../model/model.ts';

/** The model's canonical bytes, without a line end. @throws REPORT_TOO_LARGE */
export function renderJson(model: ReportModel): Buffer {
  return freezeModel(model).bytes;
}
