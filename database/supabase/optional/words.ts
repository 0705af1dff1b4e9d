// HybridFlow: the words that columns may contain, for TypeScript. `supabase gen types` does not know domains
// and checks. Put this file beside its database.types.ts, and import Database from here. Members only read,
// so only the types of rows are changed.
import type { Database as Generated } from "./database.types";

export type Words = {
  audit_log: {
    caller_kind: "deployment" | "script" | "key" | "user" | "owner" | "contact" | "ai" | "cron";
  };
  handoffs: {
    state: "waiting" | "taken" | "done" | "expired";
    reason: "asked_for_person" | "not_known" | "not_allowed" | "upset" | "tool_failed" | "other";
    words: "none" | "saying" | "said" | "not_said";
  };
  memberships: {
    role: "viewer" | "operator" | "admin";
  };
  messages: {
    sender: "contact" | "owner" | "operator" | "ai" | "client" | "auto";
    send_state: "sending" | "sent" | "unknown" | "failed" | null;
  };
  messages_archive: {
    sender: "contact" | "owner" | "operator" | "ai" | "client" | "auto";
    send_state: "sending" | "sent" | "unknown" | "failed" | null;
  };
  notices: {
    kind: "handoff" | "connection_lost" | "qr_waiting" | "undelivered" | "flow_failing" | "unanswered" | "answered_again";
    state: "pending" | "delivered" | "dead";
    handler: "n8n" | "fallback" | null;
  };
  relays: {
    source: "operator" | "staff";
    outcome: "sent" | "failed" | "in_doubt" | "taken" | "resumed" | "until" | "past" | "too_far" | "no_notice" | "no_session" | "erased" | "unsupported" | "no_media" | "unquoted" | "too_old" | "too_many" | "switched_off" | "answered" | null;
  };
  sessions: {
    chat: "contact" | "group";
    pause_source: "owner" | "operator" | "contact" | "ai" | "cron" | null;
    resume_source: "owner" | "operator" | "contact" | "ai" | "cron" | null;
  };
  tenants: {
    llm_provider: "anthropic" | "openai";
    voice_replies: "never" | "mirror" | "always";
  };
  turn_attempts: {
    handler: "n8n" | "fallback" | null;
    outcome: "sent" | "cancelled" | "dead" | "failed" | "away" | "in_doubt" | "refused" | "budget" | "unreadable" | "released" | "begun_anew" | "restarted" | "merged" | "lapsed" | "cut_off";
  };
  turns: {
    state: "pending" | "running" | "sending" | "sent" | "cancelled" | "dead";
    handler: "n8n" | "fallback" | null;
  };
};

type Tables = Generated["public"]["Tables"];

type WithWords<Row, Name> = Name extends keyof Words ? Omit<Row, keyof Words[Name]> & Words[Name] : Row;

export type Database = Omit<Generated, "public"> & {
  public: Omit<Generated["public"], "Tables"> & {
    Tables: {
      [Name in keyof Tables]: Omit<Tables[Name], "Row"> & { Row: WithWords<Tables[Name]["Row"], Name> };
    };
  };
};
