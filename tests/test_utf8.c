/* test_utf8.c -- every character, and the ways to spell one wrongly. */
#include "check.h"
#include "utf8.h"

#include <string.h>

static void test_utf8(void)
{
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF5\x80\x80\x80", "\xF4\x90\x80\x80",
        "\xC3",         "\xE2\x96",         "\xF0\x9F\x98",     "\xFF",
        "\xE2\x28\xA1", "\xC3\x28",         "\xF0\x28\x8C\xBC"};
    char text[128];
    size_t at;
    case_begin("UTF-8, well-formed and not");
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        uint8_t bytes[4];
        unsigned n = utf8_put(code, bytes);
        uint32_t read;
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        if (utf8_valid(bytes, n, NULL) == surrogate ||
            (!surrogate && (utf8_next(bytes, bytes + n, &read) != n || read != code)))
            CHECK(!"every character once");
    }
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t before = 0; before < 70; before++) {
            memset(text, 'x', sizeof text);
            CHECK(utf8_valid(text, before, &at));
            size_t n = strlen(bad[i]);
            memcpy(text + before, bad[i], n);
            CHECK(!utf8_valid(text, before + n, &at) && at == before);
            CHECK(!utf8_valid(text, sizeof text, &at) && at == before);
        }
    }
    case_end("");
}

int main(void)
{
    test_utf8();
    return check_finish();
}
