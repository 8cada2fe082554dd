"""Fixed passages for measuring the bits per character of a converted base: one short text per language.

They were written for this purpose, so models published before contain no copy of them in their training data. A wrong conversion
(rows of a weight permuted, a norm without its one, a tokenizer that splits differently) shows in them at once.
"""

from __future__ import annotations

__all__ = ["PASSAGES"]

PASSAGES: dict[str, str] = {
    "en": (
        "The old ferry stopped running in October, when the last of the apple crates had been carried across. For a week "
        "the people on the island waited for news, and then a young woman from the post office rowed over by herself to "
        "ask what had happened. She came back before dark with three letters, a sack of flour and a long story about a "
        "broken engine. Nobody believed the part about the engine, but everyone was glad of the flour. By the end of the "
        "month there were two small boats on the water every morning, and the price of bread had gone down again."
    ),
    "es": (
        "La panadería de la esquina cerró un martes, sin avisar, y durante varios días los vecinos caminaron hasta la "
        "plaza para comprar el pan. Don Ramiro, que llevaba cuarenta años levantándose a las cuatro de la mañana, decía "
        "que estaba cansado y que sus hijos preferían trabajar en la ciudad. Entonces la maestra propuso que entre todos "
        "arreglaran el horno y que cada familia lo encendiera un día a la semana. Al principio el pan salía duro o "
        "quemado, pero en primavera ya nadie recordaba el camino de la plaza."
    ),
    "hi": (
        "गाँव के पुराने कुएँ का पानी पिछले साल गर्मियों में सूख गया था। लोगों को दो किलोमीटर दूर नदी तक जाना पड़ता था और "
        "बच्चे अक्सर स्कूल देर से पहुँचते थे। फिर बरसात से पहले सरपंच ने सबको बुलाया और कहा कि अगर हर घर से एक आदमी आए, "
        "तो हम मिलकर नया तालाब खोद सकते हैं। काम धीरे-धीरे चला, लेकिन जुलाई की पहली बारिश में तालाब आधा भर गया। अब शाम "
        "को औरतें वहीं बैठकर बातें करती हैं और बच्चे समय पर स्कूल जाते हैं।"
    ),
}
