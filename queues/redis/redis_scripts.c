/* Each script reads its hash once, decides, and writes each key once. Time is the server's, so that leases need no common clock.
 * KEYS and ARGV stand in the order in which the module of that name adds them; HMGET gives false for a missing field. */
#include "queues/redis/redis_scripts.h"

/* clang-format off */
#define NOW "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
/* One element the id; a list that nobody reads keeps its last 1,024. */
#define PUSH(list, id, ttl)                                                                                                     \
        "if redis.call('RPUSH'," list "," id ")>1024 then redis.call('LPOP'," list ") end "                                     \
        "redis.call('EXPIRE'," list "," ttl ") "

/* KEYS claim wait; ARGV 1 holder 2 lease_ms 3 fingerprint 4 replays 5 attempts floor 6 ttl_s 7 list 8 id 9 result ttl_s 10 take.
 * {0, fence, attempts, fresh} granted; {1, remaining} held; {2} conflict; {3, status} finished. A fresh grant whose answer was lost is
 * as fresh when its holder asks the same question again (take): no attempt was made of it. */
static const char claim_take[] =
        "local k=KEYS[1] "
        "local c=redis.call('HMGET',k,'status','fingerprint','replays','holder','lease','fence','attempts','take') "
        "local s,f=c[1],c[2] "
        "local replays,fence,attempts=tonumber(c[3] or 0),tonumber(c[6] or 0),tonumber(c[7] or 0) "
        "local mine,fresh=tonumber(ARGV[4]),1 " NOW
        "if s then "
        "fresh=0 "
        "if f and f~='' and f~=ARGV[3] then return {2} end "
        "local ended=s~='running' and s~='waiting' "
        "if s=='ok' or s=='cancelled' or mine<replays or (ended and mine==replays) then "
        "if ARGV[7]=='1' then " PUSH("KEYS[2]", "ARGV[8]", "ARGV[9]") "end "
        "if not ended then s='failed' end " /* a newer replay is under way: this record's own outcome was a failure */
        "return {3,s} "
        "end "
        "if s=='running' and c[4]~=ARGV[1] and tonumber(c[5])>now then return {1,tonumber(c[5])-now} end "
        "if mine>replays then attempts=0 end "
        "if s=='running' and c[4]==ARGV[1] and ARGV[10]~='0' and c[8]==ARGV[10] then fresh=1 end "
        "end "
        "if fresh==1 or mine>replays or tonumber(ARGV[5])>1 then attempts=math.max(attempts,tonumber(ARGV[5])) end "
        "fence=fence+1 "
        "redis.call('HSET',k,'holder',ARGV[1],'lease',now+ARGV[2],'fence',fence,'attempts',attempts,'status','running',"
        "'fingerprint',ARGV[3],'replays',ARGV[4],'list',ARGV[7],'take',fresh==1 and ARGV[10] or '') "
        "redis.call('EXPIRE',k,ARGV[6]) "
        "return {0,fence,attempts,fresh}";

/* KEYS claim; ARGV 1 holder 2 fence 3 lease_ms 4 ttl_s 5 attempts at least. {0, attempts}; {1, status} lost. */
static const char claim_renew[] =
        "local c=redis.call('HMGET',KEYS[1],'holder','fence','status','attempts') "
        "if c[1]~=ARGV[1] or c[2]~=ARGV[2] or c[3]~='running' then return {1,c[3] or 'none'} end " NOW
        "local attempts=math.max(tonumber(c[4] or 0),tonumber(ARGV[5])) "
        "redis.call('HSET',KEYS[1],'lease',now+ARGV[3],'attempts',attempts) "
        "redis.call('EXPIRE',KEYS[1],ARGV[4]) "
        "return {0,attempts}";

/* KEYS claim; ARGV 1 holder 2 fence 3 ttl_s 4 attempts less. {0, attempts}; {1, status} lost. Asked again after a lost reply it says
 * the same: nobody has taken the claim since, or the fence would be another. */
static const char claim_release[] =
        "local c=redis.call('HMGET',KEYS[1],'holder','fence','status','attempts') "
        "if c[1]=='' and c[2]==ARGV[2] and c[3]=='waiting' then return {0,tonumber(c[4] or 0)} end "
        "if c[1]~=ARGV[1] or c[2]~=ARGV[2] or c[3]~='running' then return {1,c[3] or 'none'} end "
        "local attempts=math.max(0,tonumber(c[4] or 0)-tonumber(ARGV[4])) "
        "redis.call('HSET',KEYS[1],'lease',0,'holder','','status','waiting','attempts',attempts) "
        "redis.call('EXPIRE',KEYS[1],ARGV[3]) "
        "return {0,attempts}";

/* KEYS claim result wait ledger; ARGV 1 holder 2 fence 3 status 4 replays 5 result ttl_s 6 claim ttl_s 7 channel 8 id 9 list 10
 * json 11 unclaimed 12 ledger ttl_s (0 = none, -1 = drop the ledger) 13 ledger field 14 ledger value. 0 stored; {1, status} final; {2, status} fenced.
 * The holder and fence stay when a result is stored: who asks again after a lost reply is told that it is stored. EXPIRE is a
 * write, so that WAIT after it covers the first one, too. PUBLISH is best effort: a refusal must not undo the rest. */
static const char result_store[] =
        "local k=KEYS[1] "
        "local c=redis.call('HMGET',k,'status','replays','holder','fence') "
        "local s=c[1] "
        "local mine=c[3]==ARGV[1] and c[4]==ARGV[2] "
        "if ARGV[11]=='1' then "
        "if s=='running' or s=='waiting' then return {2,s} end "
        "if s and (s=='ok' or s=='cancelled' or tonumber(ARGV[4])<=tonumber(c[2] or 0)) then "
        "if ARGV[9]=='1' then " PUSH("KEYS[3]", "ARGV[8]", "ARGV[5]") "end "
        "return {1,s} "
        "end "
        "elseif s~='running' or not mine then "
        "if mine and s==ARGV[3] then redis.call('EXPIRE',KEYS[2],ARGV[5]) return 0 end "
        "if s and s~='running' and s~='waiting' then return {1,s} end "
        "return {2,s or 'none'} "
        "end "
        "redis.call('SET',KEYS[2],ARGV[10],'EX',ARGV[5]) "
        "redis.call('HSET',k,'status',ARGV[3],'replays',ARGV[4],'lease',0,'holder',ARGV[1]) "
        "redis.call('EXPIRE',k,ARGV[6]) "
        "if ARGV[12]=='-1' then redis.call('UNLINK',KEYS[4]) "
        "elseif ARGV[12]~='0' then redis.call('HSET',KEYS[4],ARGV[13],ARGV[14]) redis.call('EXPIRE',KEYS[4],ARGV[12]) end "
        "if ARGV[9]=='1' then " PUSH("KEYS[3]", "ARGV[8]", "ARGV[5]") "end "
        "redis.pcall('PUBLISH',ARGV[7],ARGV[8]) "
        "return 0";

/* KEYS claim result wait; ARGV 1 json 2 result ttl_s 3 claim ttl_s 4 channel 5 id. 0 stored; {1, status} ended before. */
static const char result_cancel[] =
        "local c=redis.call('HMGET',KEYS[1],'status','fence','list') "
        "local s=c[1] "
        "if s and s~='running' and s~='waiting' then return {1,s} end "
        "redis.call('SET',KEYS[2],ARGV[1],'EX',ARGV[2]) "
        "redis.call('HSET',KEYS[1],'status','cancelled','lease',0,'holder','','fence',(c[2] or 0)+1) "
        "redis.call('EXPIRE',KEYS[1],ARGV[3]) "
        "if c[3]=='1' then " PUSH("KEYS[3]", "ARGV[5]", "ARGV[2]") "end "
        "redis.pcall('PUBLISH',ARGV[4],ARGV[5]) "
        "return 0";

/* KEYS claim ledger; ARGV 1 holder 2 fence 3 field 4 value 5 ttl_s. 0 written; {1, status} fenced. */
static const char ledger_put[] =
        "local c=redis.call('HMGET',KEYS[1],'holder','fence','status') "
        "if c[1]~=ARGV[1] or c[2]~=ARGV[2] or c[3]~='running' then return {1,c[3] or 'none'} end "
        "redis.call('HSET',KEYS[2],ARGV[3],ARGV[4]) "
        "redis.call('EXPIRE',KEYS[2],ARGV[5]) "
        "return 0";

/* KEYS document; ARGV 1 holder 2 lease_ms 3 order 4 ttl_s 5 chunks planned. {0, chunks} locked; {1, remaining} busy; {2, version}
 * superseded. chunks only grows until the version is applied: what a dead writer may have left is still to be deleted. */
static const char document_lock[] =
        "local d=redis.call('HMGET',KEYS[1],'order','version','chunks','holder','lease') "
        "if d[1] and ARGV[3]<d[1] then return {2,d[2]} end " NOW
        "if d[4] and d[4]~='' and d[4]~=ARGV[1] and tonumber(d[5])>now then return {1,tonumber(d[5])-now} end "
        "local chunks,planned=tonumber(d[3] or -1),tonumber(ARGV[5]) "
        "redis.call('HSET',KEYS[1],'holder',ARGV[1],'lease',now+ARGV[2]) "
        "if planned>0 and planned>chunks then redis.call('HSET',KEYS[1],'chunks',planned) end "
        "redis.call('EXPIRE',KEYS[1],ARGV[4]) "
        "return {0,chunks}";

/* KEYS document; ARGV 1 holder 2 lease_ms 3 ttl_s. 0; 1 lost. */
static const char document_renew[] =
        "if redis.call('HGET',KEYS[1],'holder')~=ARGV[1] then return 1 end " NOW
        "redis.call('HSET',KEYS[1],'lease',now+ARGV[2]) "
        "redis.call('EXPIRE',KEYS[1],ARGV[3]) "
        "return 0";

/* KEYS document; ARGV 1 holder 2 order 3 version 4 chunks 5 ttl_s. 0; 1 lost. Asked again after a lost reply it says 0 as well. */
static const char document_applied[] =
        "local d=redis.call('HMGET',KEYS[1],'holder','order') "
        "if d[1]~=ARGV[1] and not (d[1]=='' and d[2]==ARGV[2]) then return 1 end "
        "redis.call('HSET',KEYS[1],'version',ARGV[3],'order',ARGV[2],'chunks',ARGV[4],'holder','','lease',0) "
        "redis.call('EXPIRE',KEYS[1],ARGV[5]) "
        "return 0";

/* KEYS document; ARGV 1 holder. 0; 1 lost. */
static const char document_unlock[] =
        "if redis.call('HGET',KEYS[1],'holder')~=ARGV[1] then return 1 end "
        "redis.call('HSET',KEYS[1],'holder','','lease',0) "
        "return 0";

/* KEYS progress ended; ARGV 1 index in the chunk, -1 none 2 outcome 3 reason, '' for none 4 input 5 output 6 cached tokens
 * 7 cost 8 ttl_s. 1 counted; 0 it was before. Marks of a chunk: 0 none, 1 ok, 2 cancelled, else a reason's own. */
static const char job_count[] =
        "local p,at,s,why=KEYS[1],tonumber(ARGV[1]),ARGV[2],ARGV[3] "
        "local old=0 "
        "if at>=0 then "
        "local b=redis.call('GETRANGE',KEYS[2],at,at) "
        "if b~='' then old=string.byte(b) end "
        "end "
        "if old==1 or old==2 or (old>2 and why~='') then return 0 end "
        "local mark=s=='ok' and 1 or 2 "
        "if why~='' then "
        "why=s..' '..why "
        "mark=tonumber(redis.call('HGET',p,'#'..why) or 0) "
        "if mark==0 then "
        "mark=math.min(255,redis.call('HINCRBY',p,'#',1)+2) "
        "redis.call('HSET',p,'#'..why,mark,'@'..mark,why) "
        "end "
        "redis.call('HINCRBY',p,'code:'..ARGV[3],1) "
        "end "
        "if old>2 then "
        "local was=redis.call('HGET',p,'@'..old) "
        "if was then "
        "local status,code=string.match(was,'^(%a+) (.+)$') "
        "redis.call('HINCRBY',p,status,-1) "
        "redis.call('HINCRBY',p,'code:'..code,-1) "
        "end "
        "end "
        "redis.call('HINCRBY',p,s,1) "
        "local sums={'input_tokens','output_tokens','cached_tokens','cost_pico'} "
        "for i=1,4 do if ARGV[3+i]~='0' then redis.call('HINCRBY',p,sums[i],ARGV[3+i]) end end " NOW
        "redis.call('HSETNX',p,'started_ms',now) "
        "redis.call('HSET',p,'updated_ms',now) "
        "redis.call('EXPIRE',p,ARGV[8]) "
        "if at>=0 then redis.call('SETRANGE',KEYS[2],at,string.char(mark)) redis.call('EXPIRE',KEYS[2],ARGV[8]) end "
        "return 1";

/* KEYS progress; ARGV 1 total, -1 unknown 2 published 3 ttl_s. 1. */
static const char job_published[] =
        NOW
        "redis.call('HSETNX',KEYS[1],'started_ms',now) "
        "redis.call('HSET',KEYS[1],'total',ARGV[1],'published',ARGV[2]) "
        "redis.call('EXPIRE',KEYS[1],ARGV[3]) "
        "return 1";

/* clang-format on */

const char *const redis_script_sources[SCRIPT_COUNT] = {
        [SCRIPT_CLAIM_TAKE] = claim_take,
        [SCRIPT_CLAIM_RENEW] = claim_renew,
        [SCRIPT_CLAIM_RELEASE] = claim_release,
        [SCRIPT_RESULT_STORE] = result_store,
        [SCRIPT_RESULT_CANCEL] = result_cancel,
        [SCRIPT_LEDGER_PUT] = ledger_put,
        [SCRIPT_DOCUMENT_LOCK] = document_lock,
        [SCRIPT_DOCUMENT_RENEW] = document_renew,
        [SCRIPT_DOCUMENT_APPLIED] = document_applied,
        [SCRIPT_DOCUMENT_UNLOCK] = document_unlock,
        [SCRIPT_JOB_COUNT] = job_count,
        [SCRIPT_JOB_PUBLISHED] = job_published,
};
