// SPDX-License-Identifier: Apache-2.0
/* adapter_config.json: whatever is accepted gives a rank and a scale, or an error, for a module's name. */
#include "fuzz_file.h"
#include "weights/adapter_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj", "lm_head", ""};
    struct pc_adapter_config c;
    struct paco_error err = {0};
    int rc = pc_adapter_config_parse((const char *)data, size, "adapter_config.json", &c, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    for (size_t i = 0; i < sizeof modules / sizeof *modules && rc == 0; i++) {
        int64_t r = 0;
        float scale;
        rc = pc_adapter_config_module(&c, modules[i], &r, &scale, &err);
        if (rc < 0)
            fuzz_check_error(rc, &err);
        else if (r < 1)
            abort();
    }
    pc_adapter_config_release(&c);
    return 0;
}
