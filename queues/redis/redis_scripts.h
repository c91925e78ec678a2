/* The Lua scripts: each is one atomic step of a claim, result, ledger or document. All keys of a call share one hash tag, so that
 * they live in one slot of a cluster. They are loaded when a connection greets, and sent in full where the server has lost them. */
#ifndef QUEUES_REDIS_REDIS_SCRIPTS_H
#define QUEUES_REDIS_REDIS_SCRIPTS_H

enum redis_script {
        SCRIPT_CLAIM_TAKE,
        SCRIPT_CLAIM_RENEW,
        SCRIPT_CLAIM_RELEASE,
        SCRIPT_RESULT_STORE,
        SCRIPT_RESULT_CANCEL,
        SCRIPT_LEDGER_PUT,
        SCRIPT_DOCUMENT_LOCK,
        SCRIPT_DOCUMENT_RENEW,
        SCRIPT_DOCUMENT_APPLIED,
        SCRIPT_DOCUMENT_UNLOCK,
        SCRIPT_JOB_COUNT,
        SCRIPT_JOB_PUBLISHED,
        SCRIPT_COUNT,
        SCRIPT_NONE = -1,
};

extern const char *const redis_script_sources[SCRIPT_COUNT];

#endif
