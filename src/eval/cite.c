// SPDX-License-Identifier: Apache-2.0
#include "eval/cite.h"

#include <string.h>

static const struct {
    const char *of; /* a prefix; NULL: always */
    const char *work;
} g_works[] = {
    {NULL, "Wang et al. 2023. How Far Can Camels Go? Exploring the State of Instruction Tuning on Open "
           "Resources. "
           "arXiv:2306.04751. (Open-Instruct, whose prompts and metrics these are)"},
    {NULL, "Taori et al. 2023. Stanford Alpaca: An Instruction-following LLaMA Model. "
           "github.com/tatsu-lab/stanford_alpaca"},
    {NULL, "Touvron et al. 2023. LLaMA: Open and Efficient Foundation Language Models. arXiv:2302.13971"},
    {"mmlu",
        "Hendrycks et al. 2021. Measuring Massive Multitask Language Understanding. ICLR. arXiv:2009.03300"},
    {"gsm", "Cobbe et al. 2021. Training Verifiers to Solve Math Word Problems. arXiv:2110.14168"},
    {"gsm", "Wei et al. 2022. Chain-of-Thought Prompting Elicits Reasoning in Large Language Models. "
            "arXiv:2201.11903. "
            "(the exemplars)"},
    {"mgsm", "Shi et al. 2023. Language Models are Multilingual Chain-of-Thought Reasoners. ICLR. "
             "arXiv:2210.03057"},
    {"bbh", "Suzgun et al. 2022. Challenging BIG-Bench Tasks and Whether Chain-of-Thought Can Solve Them. "
            "arXiv:2210.09261"},
    {"bbh", "Srivastava et al. 2022. Beyond the Imitation Game. arXiv:2206.04615"},
    {"tydiqa",
        "Clark et al. 2020. TyDi QA: A Benchmark for Information-Seeking Question Answering in Typologically "
        "Diverse Languages. TACL. arXiv:2003.05002"},
    {"codex",
        "Chen et al. 2021. Evaluating Large Language Models Trained on Code. arXiv:2107.03374. (HumanEval)"},
    {"alpaca_farm",
        "Dubois et al. 2023. AlpacaFarm: A Simulation Framework for Methods that Learn from Human Feedback. "
        "arXiv:2305.14387"},
    {"alpaca_farm", "Li et al. 2023. AlpacaEval: An Automatic Evaluator of Instruction-following Models. "
                    "github.com/tatsu-lab/alpaca_eval"},
};

void pc_cite(const char *task, void (*put)(void *ctx, const char *line), void *ctx)
{
    for (size_t i = 0; i < sizeof g_works / sizeof *g_works; i++) {
        const char *of = g_works[i].of;
        if (!of ? !task : task && strncmp(task, of, strlen(of)) == 0)
            put(ctx, g_works[i].work);
    }
}
