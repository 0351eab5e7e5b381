/** Which of the seven categories of audit_log an AWS CloudTrail event belongs to. */
import type { EventCategory } from '../audit/record/record.ts';

/** What the category is derived from. */
export interface CloudtrailKind {
  /** `iam.amazonaws.com` */
  readonly source: string;
  /** `AttachRolePolicy` */
  readonly name: string;
  /** `AwsApiCall`, `AwsServiceEvent`, `AwsConsoleSignIn` ... */
  readonly type: string;
  readonly readOnly: boolean;
  readonly errorCode: string | null;
  /** Whether an AWS service acted on its own behalf. */
  readonly byService: boolean;
}

const SIGN_IN = new Set(['signin', 'sts', 'sso', 'sso-oauth', 'cognito-idp', 'cognito-identity']);
const SECURITY = new Set([
  'access-analyzer',
  'cloudtrail',
  'config',
  'detective',
  'guardduty',
  'inspector2',
  'kms',
  'macie2',
  'rolesanywhere',
  'secretsmanager',
  'securityhub',
  'waf',
  'wafv2',
]);
const IDENTITY = new Set(['account', 'iam', 'identitystore', 'organizations', 'ram']);
const DENIED = /AccessDenied|Unauthorized|NotAuthorized|Forbidden/;
/** Calls that decide who may do what, in any service. */
const GRANTS =
  /^(?:(?:Attach|Detach|Put|Create|Delete|Set|Update).*(?:Policy|PolicyVersion|Acl|PublicAccessBlock)|(?:Add|Remove)(?:Permission|UserTo|UserFrom|RoleTo|RoleFrom)|(?:Create|Retire|Revoke)Grant$|Modify.*(?:Snapshot|Image)Attribute$)/;
/** Calls that change the shields of a network. */
const NETWORK_SHIELD = /SecurityGroup|NetworkAcl|FlowLogs|Firewall/;

/**
 * The category, by the first rule that fits: sign-in and tokens are authentication; a refusal, or a change of who may do
 * what, is authorization; what AWS services do by themselves is system; changes in security services and of network
 * shields are security; changes of identities and accounts are admin; reading is data_access; the rest is
 * data_modification. Reading or using keys and secrets counts as security only when it changes them.
 */
export function categoryOf(kind: CloudtrailKind): EventCategory {
  const service = kind.source.replace(/\.amazonaws\.com(?:\.cn)?$/, '');
  if (kind.type === 'AwsConsoleSignIn' || SIGN_IN.has(service)) return 'authentication';
  if (kind.errorCode !== null && DENIED.test(kind.errorCode)) return 'authorization';
  if (kind.byService || kind.type === 'AwsServiceEvent') return 'system';
  if (kind.readOnly) return 'data_access';
  if (GRANTS.test(kind.name)) return 'authorization';
  if (SECURITY.has(service) || NETWORK_SHIELD.test(kind.name)) return 'security';
  return IDENTITY.has(service) ? 'admin' : 'data_modification';
}
