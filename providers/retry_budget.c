#include "providers/retry_budget.h"

enum { WAIT_MS_MAX = 2000 };

void retry_budget_init(struct retry_budget *budget, int64_t now)
{
        *budget = (struct retry_budget){.tokens = RETRY_BUDGET_TOKENS_MAX, .trickle = RETRY_TRICKLE_MIN, .filled = now};
}

static void add(struct retry_budget *budget, double tokens)
{
        budget->tokens += tokens;
        if (budget->tokens > RETRY_BUDGET_TOKENS_MAX)
                budget->tokens = RETRY_BUDGET_TOKENS_MAX;
}

static void fill(struct retry_budget *budget, int64_t now)
{
        if (now > budget->filled)
                add(budget, (double)(now - budget->filled) * budget->trickle / 1000.0);
        budget->filled = now;
}

void retry_budget_earn(struct retry_budget *budget, double ratio)
{
        add(budget, ratio);
}

bool retry_budget_take(struct retry_budget *budget, int64_t now)
{
        fill(budget, now);
        if (budget->tokens < 1 - 1e-9) /* ten tenths are a little less than one */
                return false;
        budget->tokens -= 1;
        return true;
}

void retry_budget_return(struct retry_budget *budget)
{
        add(budget, 1);
}

void retry_budget_ended(struct retry_budget *budget, int64_t now, bool failed)
{
        fill(budget, now); /* at the trickle that held until now */
        budget->trickle = failed ? budget->trickle * 3 / 4 : budget->trickle + 1;
        if (budget->trickle < RETRY_TRICKLE_MIN)
                budget->trickle = RETRY_TRICKLE_MIN;
        if (budget->trickle > RETRY_TRICKLE_MAX)
                budget->trickle = RETRY_TRICKLE_MAX;
}

bool retry_budget_queue(struct retry_budget *budget, size_t places)
{
        if (budget->waiting >= places)
                return false;
        budget->waiting++;
        return true;
}

void retry_budget_unqueue(struct retry_budget *budget)
{
        budget->waiting--;
}

int64_t retry_budget_wait_ms(const struct retry_budget *budget, int64_t now, double chance)
{
        double due_ms = (1 - budget->tokens) * 1000.0 / budget->trickle - (double)(now > budget->filled ? now - budget->filled : 0),
               wait_ms;

        if (due_ms < 1)
                due_ms = 1;
        wait_ms = due_ms * (1 + chance) + 0.999;
        return wait_ms < WAIT_MS_MAX ? (int64_t)wait_ms : WAIT_MS_MAX;
}
