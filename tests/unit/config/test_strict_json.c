/* The strict parser beside jansson's own: what both are asked, both must say. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/base/strict_json.h"
#include "config/base/utf8.h"

static bool same_as_jansson(struct span text)
{
        struct error err;
        json_t *ours = utf8_valid(text) ? strict_parse(text, 32, &err) : NULL;
        json_t *theirs = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
        bool same = (ours == NULL) == (theirs == NULL) && (!ours || json_equal(ours, theirs));

        json_decref(ours);
        json_decref(theirs);
        return same;
}

Test(strict_json, agrees_with_jansson_on_the_known_cases)
{
        static const char *const texts[] = {
                "{}", "[]", " [ 1 , 2.5 , -0 , 1e3, -1.5E-7 ] ", "{\"a\":{\"b\":[true,false,null]}}", "\"\\u00e9\\ud83d\\ude00\\n\\/\"", "\"plain text that is long\"",
                "", " ", "{", "}", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "[1 2]", "nul", "truex", "01", "-", "1.", ".5", "1e", "+1", "1e400", "-1e400", "1e-400",
                "9223372036854775807", "9223372036854775808", "-9223372036854775808", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\u0000\"", "\"\\x\"", "\"\\u12g4\"",
                "\"a\nb\"", "\"open", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "[1] x", "NaN", "Infinity", "\xef\xbb\xbf{}", "\"\\", "\"\x7f\"", "[\"\\ud83d\\ude00\"]", "{\"\":0}"};

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                cr_assert(same_as_jansson((struct span){texts[i], strlen(texts[i])}), "%s", texts[i]);
        cr_assert(same_as_jansson((struct span){"\"a\0b\"", 5}));
}

Test(strict_json, agrees_with_jansson_on_random_damage)
{
        static const char seed[] = "{\"id\":\"q-1\",\"n\":[1,-2.5e3,true,null,\"\\u00e9\\n\"],\"o\":{\"k\":\"\xc3\xa9 text that is longer than eight bytes\",\"e\":[]}}";
        static const char bits[] = "{}[]\",:\\0123456789.eE+-utfn \n\x01\xc3";
        uint64_t state = 7;

        for (int round = 0; round < 200000; round++) {
                char text[sizeof seed];
                size_t len = sizeof seed - 1;

                memcpy(text, seed, len);
                for (int n = 0; n < 3; n++) {
                        state = state * 6364136223846793005u + 1442695040888963407u;
                        text[(state >> 33) % len] = bits[(state >> 20) % (sizeof bits - 1)];
                }
                if (state >> 61 == 0)
                        len = (state >> 40) % len;
                cr_assert(same_as_jansson((struct span){text, len}), "%.*s", (int)len, text);
        }
}

Test(strict_json, depth_is_bounded)
{
        char text[80];
        struct error err;

        memset(text, '[', 40);
        memset(text + 40, ']', 40);
        cr_assert_null(strict_parse((struct span){text, 80}, 32, &err));
        cr_assert_eq(err.code, CODE_TOO_DEEP);
        json_decref(strict_parse((struct span){text + 8, 64}, 32, &err));
        cr_assert_eq(err.code, CODE_NONE);
}
