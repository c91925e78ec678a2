/* The five kinds' functions; kinds_table.h says what each must do. */
#ifndef WORKERS_KINDS_KINDS_H
#define WORKERS_KINDS_KINDS_H

#include "workers/kinds/kinds_table.h"
#include "workers/workshop.h"

enum step ingest_run(struct task *task, struct error *err);
void ingest_render(struct task *task, struct buffer *out);
bool ingest_model(const struct task *task, size_t *ret_model);
void ingest_abort(struct task *task);

enum step embed_run(struct task *task, struct error *err);
void embed_render(struct task *task, struct buffer *out);
bool embed_model(const struct task *task, size_t *ret_model);

enum step retrieve_run(struct task *task, struct error *err);
void retrieve_render(struct task *task, struct buffer *out);
bool retrieve_model(const struct task *task, size_t *ret_model);
int retrieve_recall(struct task *task, const json_t *result, struct error *err);

enum step rerank_run(struct task *task, struct error *err);
void rerank_render(struct task *task, struct buffer *out);
bool rerank_model(const struct task *task, size_t *ret_model);
int rerank_recall(struct task *task, const json_t *result, struct error *err);

enum step llm_run(struct task *task, struct error *err);
void llm_render(struct task *task, struct buffer *out);
bool llm_model(const struct task *task, size_t *ret_model);

#endif
