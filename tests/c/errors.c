/* Version, status names, and error objects where there is none. */
#include "check.h"

int main(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", LOQUAT_VERSION_MAJOR, LOQUAT_VERSION_MINOR, LOQUAT_VERSION_PATCH);
    CHECK(strcmp(loquat_version(), version) == 0);
    CHECK(loquat_abi_version() == LOQUAT_ABI_VERSION);

    CHECK(strcmp(loquat_status_name(LOQUAT_OK), "LOQUAT_OK") == 0);
    CHECK(strcmp(loquat_status_name(LOQUAT_UNKNOWN_OPTION), "LOQUAT_UNKNOWN_OPTION") == 0);
    CHECK(strcmp(loquat_status_name(12345), "unknown status") == 0);

    CHECK(loquat_error_status(NULL) == LOQUAT_OK);
    CHECK(strcmp(loquat_error_message(NULL), "") == 0);
    loquat_error_free(NULL);
    return 0;
}
