// SPDX-License-Identifier: Apache-2.0
/* Where the data of the benchmarks, and those to be tuned on, come from: their authors' own places, at the
 * commits whose files were checked, with sizes and SHA-256, or with the name git has for them in that commit.
 * A file without either is at an address that its authors may change; what came is recorded. */
#include "data/sources.h"

#include <string.h>

#define GSM                                                                                                  \
    "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"
#define BBH                                                                                                  \
    "https://raw.githubusercontent.com/suzgunmirac/BIG-Bench-Hard/9ee07bd481feebf959a6b59d61ea57bdcf30964d/"
#define HUMAN_EVAL                                                                                           \
    "https://raw.githubusercontent.com/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/"
#define ALPACA_EVAL                                                                                          \
    "https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20/"
#define MGSM                                                                                                 \
    "https://raw.githubusercontent.com/google-research/url-nlp/452a21ad3dae5668c06ceeac21ff073e1e40f9be/"
#define SELF_INSTRUCT                                                                                        \
    "https://raw.githubusercontent.com/yizhongw/self-instruct/0b26ccaa415992100fa32df62d41b994cf928e23/"
#define KOALA                                                                                                \
    "https://raw.githubusercontent.com/arnav-gudibande/koala-test-set/"                                      \
    "2d4396aee3cff495382e9b0ad2521d70b177763b/"
#define FASTCHAT "https://raw.githubusercontent.com/lm-sys/FastChat/722b08ca2277c73b4300ad652eabe413b0407c43/"
#define OPEN_INSTRUCT                                                                                        \
    "https://raw.githubusercontent.com/allenai/open-instruct/e6c3044aa6201c8bfa4573c1b03142af599e730d/"

/* The last commits have no MGSM. */
#define OPEN_INSTRUCT_2023                                                                                   \
    "https://raw.githubusercontent.com/allenai/open-instruct/e44fcf5889bea5eefc9ce70e458ae75cad920b6f/"

static const struct pc_data_file g_mmlu[] = {
    {"mmlu", "https://people.eecs.berkeley.edu/~hendrycks/data.tar", 166184960,
        "bec563ba4bac1d6aaf04141cd7d1605d7a5ca833e38f994051e818489592989b", PC_DATA_MMLU_TAR},
};

static const struct pc_data_file g_gsm[] = {
    {"gsm/test.jsonl", GSM "grade_school_math/data/test.jsonl", 749738,
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14", PC_DATA_PLAIN},
    {"gsm/exemplars.jsonl", OPEN_INSTRUCT "eval/gsm/examplars.py", 2932,
        "d32d2a5bc2b808b4b97f84e83042709b25f686c574f1833bd28f71e9057173b1", PC_DATA_GSM_EXEMPLARS},
};

static const struct pc_data_file g_bbh[] = {
    {"bbh/bbh/boolean_expressions.json", BBH "bbh/boolean_expressions.json", 17172,
        "ea6c754ec005e2d3f2d085d349a740f593b5764f32ea4638ffed4cfc0061b12a", PC_DATA_PLAIN},
    {"bbh/bbh/causal_judgement.json", BBH "bbh/causal_judgement.json", 202943,
        "6e8bca44dd402008ed41c07a3d0a1d5e7b03db7001a7e002fcdf4c60985ea081", PC_DATA_PLAIN},
    {"bbh/bbh/date_understanding.json", BBH "bbh/date_understanding.json", 61760,
        "0148d4ac5fca05b2f82373e5fef7208e15363b9c6079493034d77b3dab496bf5", PC_DATA_PLAIN},
    {"bbh/bbh/disambiguation_qa.json", BBH "bbh/disambiguation_qa.json", 85255,
        "cf06df9ebf911b883671cb1b35d3fbd1a1c306b19b9e9a012407e596c85fe8c6", PC_DATA_PLAIN},
    {"bbh/bbh/dyck_languages.json", BBH "bbh/dyck_languages.json", 43814,
        "3f9badedf15c2be1ce53d94fdf016299bb30ba231ef087ab9f51a7ed6d0bdc25", PC_DATA_PLAIN},
    {"bbh/bbh/formal_fallacies.json", BBH "bbh/formal_fallacies.json", 145562,
        "4c1adb664821157faade1d4153685403afcc02648f3c180a608a18f17f589629", PC_DATA_PLAIN},
    {"bbh/bbh/geometric_shapes.json", BBH "bbh/geometric_shapes.json", 77242,
        "07be68a124420caa2ebc0b2c858ad79fc55c5c8806170e496e1e17ebfb11f31c", PC_DATA_PLAIN},
    {"bbh/bbh/hyperbaton.json", BBH "bbh/hyperbaton.json", 44706,
        "b6d7f55c75f5d02f2987a4f3123802dfa093872089a56a334144aae8a7264fdc", PC_DATA_PLAIN},
    {"bbh/bbh/logical_deduction_five_objects.json", BBH "bbh/logical_deduction_five_objects.json", 155477,
        "d2df31394b903b7f0e085d42a69572a092987856eac076799017d70ef266fa8f", PC_DATA_PLAIN},
    {"bbh/bbh/logical_deduction_seven_objects.json", BBH "bbh/logical_deduction_seven_objects.json", 198404,
        "2896c7e3482eea318dd37bcc370d24ec3cc91e8374c1784287b5dbd38a529e33", PC_DATA_PLAIN},
    {"bbh/bbh/logical_deduction_three_objects.json", BBH "bbh/logical_deduction_three_objects.json", 112213,
        "e590fae72e3a6041fbd23bd8ff6b74baf44ca563f6ba40a041c55e7b867c1681", PC_DATA_PLAIN},
    {"bbh/bbh/movie_recommendation.json", BBH "bbh/movie_recommendation.json", 57684,
        "a8b53a87ee21a865b7248e694f388a9b8f7cf6b839b11d44796a2dd3fc088983", PC_DATA_PLAIN},
    {"bbh/bbh/multistep_arithmetic_two.json", BBH "bbh/multistep_arithmetic_two.json", 18325,
        "c9d5a6433c9b78256422a15c78463949c8bec8d85607aa28b52d7234ad4a8595", PC_DATA_PLAIN},
    {"bbh/bbh/navigate.json", BBH "bbh/navigate.json", 55163,
        "b7944dfd3c81da5c4815bd75b00d6fa3c64140823498e78ed496f4c3d36f7f0d", PC_DATA_PLAIN},
    {"bbh/bbh/object_counting.json", BBH "bbh/object_counting.json", 35890,
        "8acef14dbbdd40d2326ef7755750b6b5fe919fef06276af1bab3f1c297f022ff", PC_DATA_PLAIN},
    {"bbh/bbh/penguins_in_a_table.json", BBH "bbh/penguins_in_a_table.json", 74516,
        "bb87ee449698eee51215e025a453b1bcb2f5e6589c2063b2c79e68b8f0655228", PC_DATA_PLAIN},
    {"bbh/bbh/reasoning_about_colored_objects.json", BBH "bbh/reasoning_about_colored_objects.json", 98694,
        "0a8850cf95166020fce7a78244026ceedd7ea839302471512b4f8744e85a6a49", PC_DATA_PLAIN},
    {"bbh/bbh/ruin_names.json", BBH "bbh/ruin_names.json", 53178,
        "b6f723aef2bafdd4c7bfc3c7e0329c7e8a8279391a609969c8ed76c9319f5f7f", PC_DATA_PLAIN},
    {"bbh/bbh/salient_translation_error_detection.json", BBH "bbh/salient_translation_error_detection.json",
        286443, "becf3eb8dd53c821a555ecd5c1334ecd93eb25f980e63be963c518e7138de5da", PC_DATA_PLAIN},
    {"bbh/bbh/snarks.json", BBH "bbh/snarks.json", 42646,
        "54a0661fe2de06167645a4965e6bcf963c4ba307e76262a7c750998b0e3d0d0e", PC_DATA_PLAIN},
    {"bbh/bbh/sports_understanding.json", BBH "bbh/sports_understanding.json", 28617,
        "63ca262858f6176864515cd8cf53cdaa40839ebecc155b726d77930855d167bf", PC_DATA_PLAIN},
    {"bbh/bbh/temporal_sequences.json", BBH "bbh/temporal_sequences.json", 148176,
        "92a1189faaa84aacc4c405aaa13f13f48c2992eb884772eedb622505252baef5", PC_DATA_PLAIN},
    {"bbh/bbh/tracking_shuffled_objects_five_objects.json",
        BBH "bbh/tracking_shuffled_objects_five_objects.json", 169722,
        "2063a46a4fb484236ed4310523606543a3e1dd4a4dc34eda65d407910ece25a5", PC_DATA_PLAIN},
    {"bbh/bbh/tracking_shuffled_objects_seven_objects.json",
        BBH "bbh/tracking_shuffled_objects_seven_objects.json", 214906,
        "b59fd05b850c37cf57cb514ae1e6975c00b1638ade2291722056b2af3c54084d", PC_DATA_PLAIN},
    {"bbh/bbh/tracking_shuffled_objects_three_objects.json",
        BBH "bbh/tracking_shuffled_objects_three_objects.json", 128736,
        "546cc7bf10c6a01a6a4c17ae28a4966485f21f29fd5d111f37858ec78e354f6b", PC_DATA_PLAIN},
    {"bbh/bbh/web_of_lies.json", BBH "bbh/web_of_lies.json", 52964,
        "3e60323f8514a107fdb4edf35f8832a9171c5a09c0eaa47823559de905e8ab8b", PC_DATA_PLAIN},
    {"bbh/bbh/word_sorting.json", BBH "bbh/word_sorting.json", 66300,
        "2a6132d2c99f00d0d2eb1113ac6b4a918bd969d863c48749210d969713db8d43", PC_DATA_PLAIN},
    {"bbh/cot-prompts/boolean_expressions.txt", BBH "cot-prompts/boolean_expressions.txt", 1891,
        "685affba97425cdf3549d5d313ba876caed2fa7c8a4cf1ea7549faf22179609d", PC_DATA_PLAIN},
    {"bbh/cot-prompts/causal_judgement.txt", BBH "cot-prompts/causal_judgement.txt", 3763,
        "14377e36cccb084b7d0fe73988d08696f7675d712b02d3ae1f5f7f12c77028ea", PC_DATA_PLAIN},
    {"bbh/cot-prompts/date_understanding.txt", BBH "cot-prompts/date_understanding.txt", 1277,
        "a0a13c392f689a1828f5f6ffb9dee3d44483794490da5d92f0e2a723787b1cfb", PC_DATA_PLAIN},
    {"bbh/cot-prompts/disambiguation_qa.txt", BBH "cot-prompts/disambiguation_qa.txt", 3678,
        "794fd259297972a4c963a5d13a84dc221edde460de27fa5d8fd64299a2001597", PC_DATA_PLAIN},
    {"bbh/cot-prompts/dyck_languages.txt", BBH "cot-prompts/dyck_languages.txt", 2515,
        "b0836603007ec659ed685458647fb6d7543543304e7aca909b995d0c3aff22b2", PC_DATA_PLAIN},
    {"bbh/cot-prompts/formal_fallacies.txt", BBH "cot-prompts/formal_fallacies.txt", 4587,
        "10c06cc362520e9b8dddfc4861e263ff668d228a52d958dcc69f09f1d224935a", PC_DATA_PLAIN},
    {"bbh/cot-prompts/geometric_shapes.txt", BBH "cot-prompts/geometric_shapes.txt", 4941,
        "f36d9893507eb518d84f388fb677dc0226c74a98873700de0b556548d65d3f76", PC_DATA_PLAIN},
    {"bbh/cot-prompts/hyperbaton.txt", BBH "cot-prompts/hyperbaton.txt", 3224,
        "19898af91c35cb26bbdf5fdb6f6fb17e138677250332e2994005625ffb50b261", PC_DATA_PLAIN},
    {"bbh/cot-prompts/logical_deduction_five_objects.txt",
        BBH "cot-prompts/logical_deduction_five_objects.txt", 2615,
        "4ed65246c0c1c4b0b4053d784181892b842bce19cf4358c976f34b1a434ef034", PC_DATA_PLAIN},
    {"bbh/cot-prompts/logical_deduction_seven_objects.txt",
        BBH "cot-prompts/logical_deduction_seven_objects.txt", 2615,
        "4ed65246c0c1c4b0b4053d784181892b842bce19cf4358c976f34b1a434ef034", PC_DATA_PLAIN},
    {"bbh/cot-prompts/logical_deduction_three_objects.txt",
        BBH "cot-prompts/logical_deduction_three_objects.txt", 2615,
        "4ed65246c0c1c4b0b4053d784181892b842bce19cf4358c976f34b1a434ef034", PC_DATA_PLAIN},
    {"bbh/cot-prompts/movie_recommendation.txt", BBH "cot-prompts/movie_recommendation.txt", 2231,
        "cdf765634713b057091d541b4773dd2c998f81447b0bd8564ae70be4cdf3f5d0", PC_DATA_PLAIN},
    {"bbh/cot-prompts/multistep_arithmetic_two.txt", BBH "cot-prompts/multistep_arithmetic_two.txt", 2496,
        "a546e0b7cde09037bc144ae5c32c9cf78dafdfac929ae76e2051b2dd8f3671ce", PC_DATA_PLAIN},
    {"bbh/cot-prompts/navigate.txt", BBH "cot-prompts/navigate.txt", 2257,
        "dc2fd733f1867b8c79685f15b83746064534a94bf73468341c2a9dd335be22fc", PC_DATA_PLAIN},
    {"bbh/cot-prompts/object_counting.txt", BBH "cot-prompts/object_counting.txt", 1528,
        "e51ffc03fd713a13a379a6c938a523dfc1c2f384f2a8447bd7a12d4458f18833", PC_DATA_PLAIN},
    {"bbh/cot-prompts/penguins_in_a_table.txt", BBH "cot-prompts/penguins_in_a_table.txt", 2496,
        "33be137e76c2a6af0bbacd17a8e7a92801886c0202a45e35ea9c2a88c1f26d51", PC_DATA_PLAIN},
    {"bbh/cot-prompts/reasoning_about_colored_objects.txt",
        BBH "cot-prompts/reasoning_about_colored_objects.txt", 2405,
        "e4ea02d05b13e8ed9ccc3b0d878bc4df4c5a6fb76c65d39d48d6244f7ff0b9d5", PC_DATA_PLAIN},
    {"bbh/cot-prompts/ruin_names.txt", BBH "cot-prompts/ruin_names.txt", 3591,
        "731446c6c66bb5258677af1417b599a6a5539be6d74a5afc02cf7a716444ea54", PC_DATA_PLAIN},
    {"bbh/cot-prompts/salient_translation_error_detection.txt",
        BBH "cot-prompts/salient_translation_error_detection.txt", 6251,
        "2c8367f75092202cc507fdbfaaf037b1c1eed38e91289084439738367f0785f7", PC_DATA_PLAIN},
    {"bbh/cot-prompts/snarks.txt", BBH "cot-prompts/snarks.txt", 3224,
        "35084a2a0b86bc4008ab206b838c0b97dd425897dd72198137c3cefc499c0960", PC_DATA_PLAIN},
    {"bbh/cot-prompts/sports_understanding.txt", BBH "cot-prompts/sports_understanding.txt", 931,
        "2058a9bed717a6edb8ca2f815e88851436a4ee14c8b0d504ccf464865c6d0295", PC_DATA_PLAIN},
    {"bbh/cot-prompts/temporal_sequences.txt", BBH "cot-prompts/temporal_sequences.txt", 3133,
        "3e7ebf1e20abe3e219dc6514dcb7474d82db1b2c66acc733cd30af2e9e0b64b0", PC_DATA_PLAIN},
    {"bbh/cot-prompts/tracking_shuffled_objects_five_objects.txt",
        BBH "cot-prompts/tracking_shuffled_objects_five_objects.txt", 2714,
        "2ef54cb2a72052adc3484a76209cb6a6535f194d677e79bcec2e2e71cf3768af", PC_DATA_PLAIN},
    {"bbh/cot-prompts/tracking_shuffled_objects_seven_objects.txt",
        BBH "cot-prompts/tracking_shuffled_objects_seven_objects.txt", 2714,
        "2ef54cb2a72052adc3484a76209cb6a6535f194d677e79bcec2e2e71cf3768af", PC_DATA_PLAIN},
    {"bbh/cot-prompts/tracking_shuffled_objects_three_objects.txt",
        BBH "cot-prompts/tracking_shuffled_objects_three_objects.txt", 2714,
        "2ef54cb2a72052adc3484a76209cb6a6535f194d677e79bcec2e2e71cf3768af", PC_DATA_PLAIN},
    {"bbh/cot-prompts/web_of_lies.txt", BBH "cot-prompts/web_of_lies.txt", 3055,
        "c8025ca65ab7f0897c243504c863bda043d04b6e873777536743e94023c929d0", PC_DATA_PLAIN},
    {"bbh/cot-prompts/word_sorting.txt", BBH "cot-prompts/word_sorting.txt", 2274,
        "a2cdbcfe23abaa97b9787f7c03dbf49b1cfd0ff9e63197b7884bb5cd5a096ca6", PC_DATA_PLAIN},
};

static const struct pc_data_file g_tydiqa[] = {
    {"tydiqa/tydiqa-goldp-v1.1-dev.json",
        "https://storage.googleapis.com/tydiqa/v1.1/tydiqa-goldp-v1.1-dev.json", 0, NULL, PC_DATA_PLAIN},
    {"tydiqa/tydiqa-goldp-v1.1-train.json",
        "https://storage.googleapis.com/tydiqa/v1.1/tydiqa-goldp-v1.1-train.json", 0, NULL, PC_DATA_PLAIN},
};

static const struct pc_data_file g_codex[] = {
    {"codex_humaneval/HumanEval.jsonl.gz", HUMAN_EVAL "data/HumanEval.jsonl.gz", 44877,
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef", PC_DATA_PLAIN},
};

static const struct pc_data_file g_alpaca_farm[] = {
    {"alpaca_farm/alpaca_farm_evaluation.json",
        "https://huggingface.co/datasets/tatsu-lab/alpaca_farm/resolve/main/alpaca_farm_evaluation.json", 0,
        NULL, PC_DATA_PLAIN},
};

static const struct pc_data_file g_alpaca_eval[] = {
    {"alpaca_eval/alpaca-7b/annotations_alpaca_eval_gpt4.json",
        ALPACA_EVAL "results/alpaca-7b/alpaca_eval_gpt4/annotations.json", 1085344,
        "d44ea50f1a81f6ae6a95e8ac1dd08b7eca82cc0a9058a2923b1c70cec1e9eaa5", PC_DATA_PLAIN},
    {"alpaca_eval/alpaca-7b/model_outputs.json", ALPACA_EVAL "results/alpaca-7b/model_outputs.json", 539271,
        "21048628f20187affc7d9c9e756d9618e08c4991fc8a48184612eb484565c5db", PC_DATA_PLAIN},
    {"alpaca_eval/text_davinci_003/model_outputs.json",
        ALPACA_EVAL "results/text_davinci_003/model_outputs.json", 474865,
        "af0bc112f08c88bf589bbfe6fc1036806d0a0f6fec9c4d5a4db860f5afe73b4b", PC_DATA_PLAIN},
    {"alpaca_eval/alpaca_eval_gpt4_leaderboard.csv",
        ALPACA_EVAL "src/alpaca_eval/leaderboards/data_AlpacaEval/alpaca_eval_gpt4_leaderboard.csv", 10033,
        "9a86bb8cd16967ab94796ca6e52b63a14ceb59c953194ec064edfe690fb82ed6", PC_DATA_PLAIN},
    {"alpaca_eval/evaluators_leaderboard.csv",
        ALPACA_EVAL "src/alpaca_eval/leaderboards/evaluators/evaluators_leaderboard.csv", 6443,
        "db679d719e2a8705333ea2adbc184e77958226de58fe3146a815763e18ec5a3d", PC_DATA_PLAIN},
};

static const struct pc_data_file g_mgsm[] = {
    {"mgsm/mgsm_bn.tsv", MGSM "mgsm/mgsm_bn.tsv", 156684,
        "6b00bc7cc635547e866989284afa924d789b5affa2eb8de623c385dd943ad977", PC_DATA_PLAIN},
    {"mgsm/mgsm_de.tsv", MGSM "mgsm/mgsm_de.tsv", 69640,
        "4dfea30fede44b813e2e496f5f0534049e83c7cc8aed6e00600b30ec62053626", PC_DATA_PLAIN},
    {"mgsm/mgsm_en.tsv", MGSM "mgsm/mgsm_en.tsv", 61299,
        "50021d0f28cc957edcb44e7806425b1c7fbd648ddcb9e0a8ec689d10e57d40fa", PC_DATA_PLAIN},
    {"mgsm/mgsm_es.tsv", MGSM "mgsm/mgsm_es.tsv", 66896,
        "5bd27ebdf00140cec845c5298dc17715f5cd57d8edda6df1976db40bf3f0750a", PC_DATA_PLAIN},
    {"mgsm/mgsm_fr.tsv", MGSM "mgsm/mgsm_fr.tsv", 69141,
        "36207c1c03fd7cd3ea491441eb755408199f94e4a647851df531bbaedc99d606", PC_DATA_PLAIN},
    {"mgsm/mgsm_ja.tsv", MGSM "mgsm/mgsm_ja.tsv", 81043,
        "59a2b50debe77981fd784cb3b2bef1505e3abf2a37116dc9d7a366ab029b4637", PC_DATA_PLAIN},
    {"mgsm/mgsm_ru.tsv", MGSM "mgsm/mgsm_ru.tsv", 110953,
        "6bd30fd2e80c5bac23f566fb4ae0e6a55a19578401fbf9a01fb21beb3645fef8", PC_DATA_PLAIN},
    {"mgsm/mgsm_sw.tsv", MGSM "mgsm/mgsm_sw.tsv", 67456,
        "2bac828d77229e65d7c7197b1ad4a2cb5b1fe99b163f2cbdd66501de6a2115c4", PC_DATA_PLAIN},
    {"mgsm/mgsm_te.tsv", MGSM "mgsm/mgsm_te.tsv", 176547,
        "dd6b1452c244bb2e4ba254c01ea84137f80c1cefc57d69c23b0ed88b9c0f36b7", PC_DATA_PLAIN},
    {"mgsm/mgsm_th.tsv", MGSM "mgsm/mgsm_th.tsv", 151921,
        "f3932dc5ad8e9d0ea82b017adc1e1461dd647af861e7166d6741986602a0cfd6", PC_DATA_PLAIN},
    {"mgsm/mgsm_zh.tsv", MGSM "mgsm/mgsm_zh.tsv", 57838,
        "b2fa63151022370a0de1f4211c8c284eae74b0f5a3b003b1d5982c0d4a73f661", PC_DATA_PLAIN},
    {"mgsm/exemplars.json", OPEN_INSTRUCT_2023 "eval/mgsm/examplars.py", 104923,
        "288391c47549bcf1015636dcf66de2c7f302c537f3d1553c47a3881a7e939232", PC_DATA_MGSM_EXEMPLARS},
};

static const struct pc_data_file g_creative[] = {
    {"creative_tasks/self_instruct_test.jsonl", SELF_INSTRUCT "human_eval/user_oriented_instructions.jsonl",
        170193, "81d60a117db495cecedecd9193504fd07c5b5a42f6699ef6b0f9da10fc22f42e", PC_DATA_PLAIN},
    {"creative_tasks/koala_test.jsonl", KOALA "koala_test_set.jsonl", 142203,
        "c8cda5c53810dc30aad34fabbb828fe3eba0957119e00916650c971905d19886", PC_DATA_PLAIN},
    {"creative_tasks/vicuna_test.jsonl", FASTCHAT "fastchat/eval/table/question.jsonl", 12885,
        "590c39157bc561eadd7f03cad4be18c2b597f93029780af65f86718f39eafa87", PC_DATA_PLAIN},
};

/* ---- to be tuned on: upstream's data/raw_train ---- */

#define STANFORD                                                                                             \
    "https://raw.githubusercontent.com/tatsu-lab/stanford_alpaca/761dc5bfbdeeffa89b8bff5d038781a4055f796a/"
#define CODE_ALPACA                                                                                          \
    "https://raw.githubusercontent.com/sahil280114/codealpaca/2f78ddc5c682ed6738ad092bbbfa59ba915afcb0/"
#define GPT4_LLM                                                                                             \
    "https://raw.githubusercontent.com/Instruction-Tuning-with-GPT-4/GPT-4-LLM/"                             \
    "80cda626ea305004be42426671c66efebbf22144/"
#define BAIZE                                                                                                \
    "https://raw.githubusercontent.com/project-baize/baize-chatbot/"                                         \
    "4fae6c4e550f087958c1f60746f0e6290e6b9f02/"
#define UNNATURAL                                                                                            \
    "https://raw.githubusercontent.com/orhonovich/unnatural-instructions/"                                   \
    "22a41c945a8b0f88d8254def75d574c53f1221be/"
#define HUB "https://huggingface.co/datasets/"
#define BEAKER "https://beaker.org/api/v3/datasets/"

static const struct pc_data_file g_stanford_alpaca[] = {
    {.path = "stanford_alpaca/alpaca_data.json",
        .url = STANFORD "alpaca_data.json",
        .digest = "3779ddbc040543ab1834ef216c983d6fcc06cc9a"},
    {.path = "stanford_alpaca/prompt.txt",
        .url = STANFORD "prompt.txt",
        .size = 1749,
        .digest = "c042d2a46d3bdc4fa4406deeed5951dc2dcd4ebf29ebf8237210c384f09b5b2d"},
    {.path = "stanford_alpaca/seed_tasks.jsonl",
        .url = STANFORD "seed_tasks.jsonl",
        .size = 110934,
        .digest = "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48"},
};

static const struct pc_data_file g_code_alpaca[] = {
    {.path = "code_alpaca/code_alpaca_20k.json",
        .url = CODE_ALPACA "data/code_alpaca_20k.json",
        .digest = "4599591b17572755907bd945e34d25a956dcab09"},
};

static const struct pc_data_file g_gpt4_alpaca[] = {
    {.path = "gpt4_alpaca/alpaca_gpt4_data.json",
        .url = GPT4_LLM "data/alpaca_gpt4_data.json",
        .digest = "25508714b7879a1e5a6764ba7f979a980f549f1a"},
};

static const struct pc_data_file g_dolly[] = {
    {.path = "dolly/databricks-dolly-15k.jsonl",
        .url = HUB "databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"},
};

static const struct pc_data_file g_oasst1[] = {
    {.path = "oasst1/2023-04-12_oasst_ready.trees.jsonl",
        .url = HUB "OpenAssistant/oasst1/resolve/main/2023-04-12_oasst_ready.trees.jsonl.gz",
        .kind = PC_DATA_GZIP},
};

static const struct pc_data_file g_self_instruct[] = {
    {.path = "self_instruct/all_instances_82K.jsonl",
        .url = SELF_INSTRUCT "data/gpt3_generations/batch_221203/all_instances_82K.jsonl",
        .digest = "ccceb2677cbafcac4c996be47520b5581dd10295"},
};

static const struct pc_data_file g_unnatural[] = {
    {.path = "unnatural_instructions/core_data.jsonl",
        .url = UNNATURAL "data/core_data.zip",
        .kind = PC_DATA_ZIP,
        .digest = "037b95e773c5d050d025b1d012180c42fa63d13f"},
};

static const struct pc_data_file g_cot[] = {
    {.path = "cot/cot_zsopt.jsonl", .url = BEAKER "01GXZ52K2Q932H6KZY499A7FE8/files/cot_zsopt.jsonl"},
    {.path = "cot/cot_fsopt.jsonl", .url = BEAKER "01GXZ51ZV283RAZW7J3ECM4S58/files/cot_fsopt.jsonl"},
};

static const struct pc_data_file g_flan_v2[] = {
    {.path = "flan_v2/flan_v2_resampled_100k.jsonl",
        .url = BEAKER "01GZTTS2EJFPA83PXS4FQCS1SA/files/flan_v2_resampled_100k.jsonl"},
};

static const struct pc_data_file g_baize[] = {
    {.path = "baize/alpaca_chat_data.json",
        .url = BAIZE "data/alpaca_chat_data.json",
        .digest = "511cdcd5760834db0ca3e9d16aa79a03041c820d"},
    {.path = "baize/medical_chat_data.json",
        .url = BAIZE "data/medical_chat_data.json",
        .digest = "3a2ac3a399db14126efe04f1bf1075ed8c6cf96d"},
    {.path = "baize/quora_chat_data.json",
        .url = BAIZE "data/quora_chat_data.json",
        .digest = "42acd0fbc5573ad5eb0e2df360689381cc415c65"},
    {.path = "baize/stackoverflow_chat_data.json",
        .url = BAIZE "data/stackoverflow_chat_data.json",
        .digest = "68c1a93b63ae919c48fb0f84fe787a9538f732e5"},
};

static const struct pc_data_file g_sharegpt[] = {
    {.path = "sharegpt/sg_90k_part1_html_cleaned.json",
        .url = HUB "anon8231489123/ShareGPT_Vicuna_unfiltered/resolve/main/HTML_cleaned_raw_dataset/"
                   "sg_90k_part1_html_cleaned.json"},
    {.path = "sharegpt/sg_90k_part2_html_cleaned.json",
        .url = HUB "anon8231489123/ShareGPT_Vicuna_unfiltered/resolve/main/HTML_cleaned_raw_dataset/"
                   "sg_90k_part2_html_cleaned.json"},
};

#define FILES(list) .files = list, .n_files = sizeof(list) / sizeof *(list)

const struct pc_data_set pc_data_sets[] = {
    {"mmlu", "MMLU: 57 subjects, 14,042 questions", "MIT", true, FILES(g_mmlu)},
    {"gsm", "GSM8K's test set, and the eight exemplars", "MIT; Apache-2.0", true, FILES(g_gsm)},
    {"bbh", "BIG-Bench Hard: 27 tasks and their prompts", "MIT", true, FILES(g_bbh)},
    {"tydiqa", "TyDi QA, gold passages, nine languages", "Apache-2.0", true, FILES(g_tydiqa)},
    {"codex_humaneval", "HumanEval: 164 programs to write", "MIT", true, FILES(g_codex)},
    {"alpaca_farm", "AlpacaFarm: 805 instructions, text-davinci-003's answers", "CC BY-NC 4.0", true,
        FILES(g_alpaca_farm)},
    {"alpaca_eval", "the same as AlpacaEval has them, with annotations of one model", "CC BY-NC 4.0", true,
        FILES(g_alpaca_eval)},
    {"mgsm", "MGSM: 250 questions of GSM8K in eleven languages, and exemplars", "CC BY 4.0; Apache-2.0",
        false, FILES(g_mgsm)},
    {"creative_tasks", "instructions of self-instruct, Koala and Vicuna", "Apache-2.0", false,
        FILES(g_creative)},
    {"stanford_alpaca", "Stanford Alpaca: 52,002 instructions, text-davinci-003's answers", "CC BY-NC 4.0",
        false, FILES(g_stanford_alpaca), .training = true},
    {"gpt4_alpaca", "the same instructions, GPT-4's answers", "CC BY-NC 4.0", false, FILES(g_gpt4_alpaca),
        .training = true},
    {"code_alpaca", "Code Alpaca: 20,022 instructions about programs", "CC BY-NC 4.0", false,
        FILES(g_code_alpaca), .training = true},
    {"dolly", "Dolly: 15,011 instructions and answers by people", "CC BY-SA 3.0", false, FILES(g_dolly),
        .training = true},
    {"oasst1", "OpenAssistant: trees of conversations by people", "Apache-2.0", false, FILES(g_oasst1),
        .training = true},
    {"self_instruct", "self-instruct: 82,439 instances by GPT-3", "Apache-2.0", false, FILES(g_self_instruct),
        .training = true},
    {"unnatural_instructions", "unnatural instructions: the core, by text-davinci-002", "MIT", false,
        FILES(g_unnatural), .training = true},
    {"cot", "chains of thought of FLAN v2, with and without examples", "Apache-2.0", false, FILES(g_cot),
        .training = true},
    {"flan_v2", "100,000 tasks of FLAN v2", "Apache-2.0", false, FILES(g_flan_v2), .training = true},
    {"baize", "Baize: four sets of conversations with ChatGPT itself", "research use only", false,
        FILES(g_baize), .training = true},
    {"sharegpt", "conversations with ChatGPT, before paco data split-sharegpt", "not stated", false,
        FILES(g_sharegpt), .training = true},
    {0},
};

const struct pc_data_set *pc_data_set_find(const char *name)
{
    for (const struct pc_data_set *s = pc_data_sets; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}
